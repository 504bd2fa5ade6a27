//! Writes that change nothing.

use serde_json::{Value, json};

use crate::client::{Socket, ask, position, server};

#[tokio::test]
async fn save_without_changes_is_answered_and_not_pushed() {
    let server = server().await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let (mut sails, mut instance) = (Socket::stock(&server).await, Socket::runtime(&server).await);
    let created = a.post("/todo", json!({ "title": "Milk", "tags": ["a"] })).await;
    a.post("/todo", json!({ "title": "Eggs" })).await;
    b.get("/todo").await;
    sails.get("/todo").await;
    instance.get("/todo/1").await;
    let record = &created["body"];
    for (verb, data) in [
        ("put", record.clone()),
        ("patch", json!({ "title": "Milk" })),
        ("patch", json!({ "updatedAt": 1, "createdAt": 2 })),
        ("put", json!({ "tags": ["a"], "id": "1" })),
    ] {
        let ack = a.ask(json!([verb, { "url": "/todo/1", "data": data }])).await;
        assert_eq!((&ack["statusCode"], &ack["body"]), (&json!(200), record), "{verb} {data}");
        assert_eq!(ack["headers"]["backwire-record"], "todo/1");
        // The position is the head of the log: the record is unchanged up to there.
        assert_eq!(position(&ack).1, 2);
        let (status, body) = ask(&server, verb.to_uppercase().as_str(), "/todo/1", data).await;
        assert_eq!((status, &body), (200, record));
    }
    for socket in [&mut a, &mut b, &mut sails, &mut instance] {
        assert_eq!(socket.pushes().await, [""; 0]);
    }
    a.put("/todo/1", json!({ "title": "Oats" })).await;
    let changes = instance.changes("todo/1", 1).await;
    assert_eq!((&changes[0][0], &changes[0][3]["title"]), (&json!(3), &json!("Oats")));
    server.shutdown().await;
}

#[tokio::test]
async fn repeated_save_without_changes_does_not_undo_later_changes() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let created = socket.post("/todo", json!({ "done": true })).await;
    let save = json!(["put", { "url": "/todo/1", "headers": { "idempotency-key": "k" },
                               "data": { "done": true } }]);
    let first = socket.ask(save.clone()).await;
    socket.put("/todo/1", json!({ "done": false })).await;
    assert_eq!(first["body"], created["body"]);
    // The log has no entry for the save, so its repeat returns the current record.
    let repeat = socket.ask(save).await;
    assert_eq!((&repeat["statusCode"], &repeat["body"]["done"]), (&json!(200), &json!(false)));
    assert_eq!(socket.get("/todo/1").await["body"]["done"], false);
    server.shutdown().await;
}

#[tokio::test]
async fn addition_of_an_existing_member_is_not_pushed() {
    use backwire::model::{Attribute, Model};
    let collection = |of: &str, via: &str| Attribute::collection(of, via);
    let user = Model::default()
        .attribute("pets", collection("pet", "owner"))
        .attribute("teams", collection("team", "members"));
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    let team = Model::default().attribute("members", collection("user", "teams"));
    let builder = crate::client::builder().resource("user", user).unwrap();
    let builder = builder.resource("pet", pet).unwrap().resource("team", team).unwrap();
    let server = crate::client::start(builder).await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::stock(&server).await);
    for url in ["/user", "/pet", "/team"] {
        a.post(url, json!({})).await;
    }
    for url in ["/user/1/pets/1", "/user/1/teams/1"] {
        a.put(url, Value::Null).await;
    }
    let mut rooms = Vec::new();
    for url in ["/user", "/pet", "/team", "/user/1/pets", "/user/1/teams"] {
        rooms.push(b.get(url).await);
        a.get(url).await;
    }
    for url in ["/user/1/pets/1", "/user/1/teams/1"] {
        assert_eq!(a.put(url, Value::Null).await["statusCode"], 200);
        assert_eq!(a.put(url.trim_end_matches("/1"), json!([1])).await["statusCode"], 200);
    }
    assert_eq!(a.put("/pet/1", json!({ "owner": 1 })).await["statusCode"], 200);
    assert_eq!(a.pushes().await, [""; 0]);
    assert_eq!(b.pushes().await, [""; 0]);
    server.shutdown().await;
}
