//! Creates with members of collections, with the conventions of Sails.

use backwire::Server;
use backwire::model::{Conventions, Model};
use serde_json::{Value, json};

use crate::client::{Socket, ask, builder, events, start};

/// Users with pets of their own and with patients, as in the tests of Sails.
async fn clinic(conventions: Conventions) -> Server {
    let many = |of: &str, via: &str| json!({ "collection": of, "via": via });
    let user = json!({ "attributes": {
        "name": "string", "pets": many("pet", "owner"), "patients": many("pet", "vets"),
    } });
    let pet = json!({ "attributes": {
        "name": "string", "owner": { "model": "user" }, "vets": many("user", "patients"),
    } });
    let builder = [("user", user), ("pet", pet)].into_iter().fold(builder(), |all, (name, it)| {
        all.resource(name, serde_json::from_value::<Model>(it).unwrap()).unwrap()
    });
    start(builder.compat(conventions)).await
}

/// Creates records over HTTP, and a socket that follows both resources.
async fn follower(server: &Server, records: &[(&str, Value)]) -> Socket {
    for (url, record) in records {
        assert!(ask(server, "POST", url, record.clone()).await.0 < 300, "{url} {record}");
    }
    let mut socket = Socket::stock(server).await;
    for url in ["/user", "/pet", "/fence"] {
        socket.get(url).await;
    }
    socket
}

/// Returns the resource, the verb, the record and the added or removed record of each push so far.
async fn pushes(socket: &mut Socket, server: &Server) -> Vec<Value> {
    ask(server, "POST", "/fence", json!({})).await;
    let mut pushes = Vec::new();
    loop {
        let push = socket.event().await;
        if push[0] == "fence" {
            return pushes;
        }
        let member =
            [&push[1]["addedId"], &push[1]["removedId"]].into_iter().find(|it| !it.is_null());
        pushes.push(json!([push[0], push[1]["verb"], push[1]["id"], member]));
    }
}

#[tokio::test]
async fn push_of_a_new_record_has_its_members_and_no_push_repeats_them() {
    let server = clinic(Conventions::Sails).await;
    let records = [
        ("/user", json!({ "name": "bert" })),
        ("/pet", json!({ "name": "alice", "owner": 1 })),
        ("/pet", json!({ "name": "tex" })),
    ];
    let mut follower = follower(&server, &records).await;
    let ernie = json!({ "name": "ernie", "pets": [1, 2] });
    assert_eq!(ask(&server, "POST", "/user", ernie).await.0, 200);
    let created = follower.event().await;
    assert_eq!((&created[0], &created[1]["verb"]), (&json!("user"), &json!("created")));
    let pets = created[1]["data"]["pets"].as_array().unwrap();
    let pets: Vec<_> = pets.iter().map(|pet| (&pet["name"], &pet["owner"])).collect();
    assert_eq!(pets, [(&json!("alice"), &json!(2)), (&json!("tex"), &json!(2))]);
    let others = [
        json!(["pet", "updated", 1, null]),
        json!(["user", "removedFrom", 1, 1]),
        json!(["pet", "updated", 2, null]),
    ];
    assert_eq!(pushes(&mut follower, &server).await, others);
    server.shutdown().await;
}

#[tokio::test]
async fn members_in_pairs_are_in_the_push_of_the_new_record_too() {
    let server = clinic(Conventions::Sails).await;
    let records = [("/pet", json!({ "name": "alice" })), ("/pet", json!({ "name": "tex" }))];
    let mut follower = follower(&server, &records).await;
    let bert = json!({ "name": "bert", "patients": [1, 2] });
    assert_eq!(ask(&server, "POST", "/user", bert).await.0, 200);
    let expected = [
        json!(["user", "created", 1, null]),
        json!(["pet", "addedTo", 1, 1]),
        json!(["pet", "addedTo", 2, 1]),
    ];
    assert_eq!(pushes(&mut follower, &server).await, expected);
    // Later members have pushes of their own.
    for (method, url) in [("DELETE", "/user/1/patients/2"), ("PUT", "/user/1/patients/2")] {
        assert_eq!(ask(&server, method, url, Value::Null).await.0, 200);
    }
    let all = pushes(&mut follower, &server).await;
    assert!(all.contains(&json!(["user", "removedFrom", 1, 2])), "{all:?}");
    assert!(all.contains(&json!(["user", "addedTo", 1, 2])), "{all:?}");
    server.shutdown().await;
}

/// The push of the new record has no collections without the conventions of Sails.
#[tokio::test]
async fn members_have_pushes_of_their_own_without_the_conventions_of_sails() {
    let server = clinic(Conventions::Backwire).await;
    let mut follower = follower(&server, &[("/pet", json!({ "name": "alice" }))]).await;
    let bert = json!({ "name": "bert", "pets": [1] });
    assert_eq!(ask(&server, "POST", "/user", bert).await.0, 201);
    let all = pushes(&mut follower, &server).await;
    assert!(all.contains(&json!(["user", "addedTo", 1, 1])), "{all:?}");
    assert_eq!(events(&follower.buffered_frames()), [Value::Null; 0]);
    server.shutdown().await;
}

#[tokio::test]
async fn refused_create_leaves_no_members_behind() {
    let server = clinic(Conventions::Sails).await;
    let mut follower = follower(&server, &[("/pet", json!({ "name": "alice" }))]).await;
    let refused = json!({ "id": "x", "pets": [1] });
    assert_eq!(ask(&server, "POST", "/user", refused).await.0, 400);
    assert_eq!(ask(&server, "POST", "/user", json!({ "name": "bert" })).await.0, 200);
    assert_eq!(ask(&server, "PUT", "/user/1/pets/1", Value::Null).await.0, 200);
    let all = pushes(&mut follower, &server).await;
    assert!(all.contains(&json!(["user", "addedTo", 1, 1])), "{all:?}");
    server.shutdown().await;
}
