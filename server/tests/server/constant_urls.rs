//! Writes to `/todo` with the record's id in the body: models with a constant `url`.

use backwire::model::Model;
use serde_json::{Value, json};

use crate::client::{Socket, ask, builder, refusal, start};

#[tokio::test]
async fn write_to_a_constant_url_takes_the_id_from_the_body_in_every_dialect() {
    for key in ["id", "_id"] {
        let model = Model { key: key.to_owned(), ..Model::default() };
        let server = start(builder().resource("todo", model).unwrap()).await;
        for id in 1..=12 {
            let (status, _) = ask(&server, "POST", "/todo", json!({ key: id })).await;
            assert_eq!(status, 201);
        }
        let of = |id: i64| json!({ key: id, "done": true });
        // Over HTTP.
        for (id, verb) in [(1, "PUT"), (2, "PATCH"), (3, "DELETE")] {
            let (status, body) = ask(&server, verb, "/todo", of(id)).await;
            assert_eq!((status, &body[key]), (200, &json!(id)), "{verb}");
        }
        // Our runtime, and Sails 1.x.
        let sockets = [Socket::runtime(&server).await, Socket::stock(&server).await];
        for (mut socket, first) in sockets.into_iter().zip([4, 7]) {
            for (id, verb) in (first..).zip(["put", "patch", "delete"]) {
                let ack = socket.ask(json!([verb, { "url": "/todo", "data": of(id) }])).await;
                assert_eq!((&ack["statusCode"], &ack["body"][key]), (&json!(200), &json!(id)));
            }
            for verb in ["put", "patch", "delete"] {
                let request = json!([verb, { "url": "/todo", "data": { "done": true } }]);
                let ack = socket.ask(request).await;
                assert_eq!(refusal(&ack), json!([400, "E_NO_ID"]), "{verb}");
                assert_eq!(ack["body"]["field"], key);
            }
        }
        // Sails 0.9, and the node style.
        let mut old = Socket::stock(&server).await;
        for (id, verb) in [(10, "put"), (11, "delete")] {
            let payload = json!({ "url": "/todo", "data": of(id) }).to_string();
            let ack = old.ask(json!([verb, payload])).await;
            let body: Value = serde_json::from_str(ack.as_str().unwrap()).unwrap();
            assert_eq!(body[key], id, "{verb}: {body}");
        }
        let mut node = Socket::stock(&server).await;
        let number = node.emit(&json!(["todo:update", of(12)])).await;
        let frame = node.next_frame().await;
        assert!(frame.starts_with(&format!("43{number}[null,{{")), "{frame}");
        let (_, all) = ask(&server, "GET", "/todo", Value::Null).await;
        let left: Vec<_> = all.as_array().unwrap().iter().map(|it| &it[key]).collect();
        assert_eq!(left, [1, 2, 4, 5, 7, 8, 10, 12], "{key}");
        assert!(all.as_array().unwrap().iter().all(|it| it["done"] == true));
        server.shutdown().await;
    }
}

#[tokio::test]
async fn write_without_an_id_is_refused_and_the_message_names_the_places_for_it() {
    let server = crate::client::server().await;
    for verb in ["PUT", "PATCH", "DELETE"] {
        let (status, body) = ask(&server, verb, "/todo", json!({ "done": true })).await;
        let message =
            "the id of the record is missing: send it in the url, or as \"id\" in the body";
        let refused = json!({ "code": "E_NO_ID", "message": message, "field": "id" });
        assert_eq!((status, body), (400, refused), "{verb}");
    }
    server.shutdown().await;
}
