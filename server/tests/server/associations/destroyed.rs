//! What becomes of those that belonged to a record that is gone.

use backwire::model::{Attribute, Model};
use serde_json::{Value, json};

use super::{ask, body, filled, heard, owned, read};
use crate::client::{Socket, builder};

#[tokio::test]
async fn who_belonged_to_a_record_that_is_destroyed_belongs_to_nobody() {
    let server = filled(owned()).await;
    let mut s1 = Socket::stock(&server).await;
    s1.get("/user").await;
    s1.get("/pet").await;
    body(&server, "DELETE", "/user/1", Value::Null).await;
    let heard = heard(&mut s1).await;
    let verbs: Vec<_> = heard.iter().map(|it| (&it[1]["verb"], &it[1]["data"])).collect();
    let none = |id: i64| json!({ "owner": null, "id": id });
    assert_eq!(
        verbs,
        [
            (&json!("destroyed"), &Value::Null),
            (&json!("updated"), &none(1)),
            (&json!("updated"), &none(2)),
        ]
    );
    assert_eq!(read(&server, "/pet?owner=1").await, json!([]));
    // Over a socket what follows is done before the next request.
    let mut runtime = Socket::runtime(&server).await;
    runtime.put("/user/2/pets", json!([1, 2])).await;
    let first = runtime.emit(&json!(["delete", { "url": "/user/2" }])).await;
    let second = runtime.emit(&json!(["get", { "url": "/pet?owner=2" }])).await;
    assert_eq!(runtime.ack(first).await["statusCode"], 200);
    assert_eq!(runtime.ack(second).await["body"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn who_has_to_belong_to_somebody_keeps_what_it_has() {
    let user = Model::default().attribute("pets", Attribute::collection("pet", "owner"));
    let owner = Attribute { required: true, ..Attribute::model("user") };
    let pet = Model::default().attribute("owner", owner);
    let server =
        filled(builder().resource("user", user).unwrap().resource("pet", pet).unwrap()).await;
    let (status, refused) = ask(&server, "DELETE", "/user/1/pets/1", Value::Null).await;
    assert_eq!((status, &refused["message"]), (400, &json!("owner is required")));
    body(&server, "DELETE", "/user/1", Value::Null).await;
    assert_eq!(read(&server, "/pet/1").await["owner"], 1);
    assert_eq!(read(&server, "/pet/1?populate=owner").await["owner"], Value::Null);
    assert_eq!(ask(&server, "GET", "/pet/1/owner", Value::Null).await.0, 404);
    server.shutdown().await;
}

#[tokio::test]
async fn a_repeated_destroy_does_nothing_to_a_new_record_with_the_id() {
    let server = filled(owned()).await;
    let mut runtime = Socket::runtime(&server).await;
    let keyed = json!(["delete", { "url": "/user/2", "headers": { "idempotency-key": "k" } }]);
    runtime.ask(keyed.clone()).await;
    body(&server, "POST", "/user", json!({ "id": 2, "name": "Bob" })).await;
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    assert_eq!(runtime.ask(keyed).await["statusCode"], 200);
    assert_eq!(read(&server, "/pet/1").await["owner"], 2);
    server.shutdown().await;
}
