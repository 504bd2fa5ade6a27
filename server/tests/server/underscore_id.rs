//! Undeclared resources whose first record has `_id`.

use std::path::Path;

use backwire::Server;
use backwire::server::Builder;
use backwire::settings::Store;
use serde_json::{Value, json};

use crate::client::{Socket, ask, builder, start};

fn file(folder: &Path) -> Builder {
    builder().store(Store::Sqlite(folder.join("backwire.db")))
}

async fn query(server: &Server, url: &str) -> String {
    let response = reqwest::get(format!("http://{}{url}", server.addr())).await.unwrap();
    response.headers()["backwire-query"].to_str().unwrap().to_owned()
}

/// Checks that the key is `_id` in urls, bodies, criteria and pushes.
async fn goes_by_underscore_id(server: &Server) {
    let (mut ours, mut sails) = (Socket::runtime(server).await, Socket::stock(server).await);
    for socket in [&mut ours, &mut sails] {
        socket.get("/doc").await;
    }
    let made = ours.post("/doc", json!({ "_id": "b", "id": "no key" })).await;
    assert_eq!(
        (&made["statusCode"], &made["headers"]["backwire-record"]),
        (&json!(201), &json!("doc/b"))
    );
    let given = ours.post("/doc", json!({ "title": "no id" })).await;
    assert_eq!(given["body"]["_id"], 1);
    for (verb, url, data) in [
        ("PATCH", "/doc/b", json!({ "n": 1 })),
        ("PUT", "/doc", json!({ "_id": "b", "n": 2 })),
        ("DELETE", "/doc/1", Value::Null),
    ] {
        assert_eq!(ask(server, verb, url, data).await.0, 200, "{verb} {url}");
    }
    let (_, found) = ask(server, "GET", "/doc?where={\"_id\":\"b\"}", Value::Null).await;
    assert_eq!((found[0]["n"].as_i64(), &found[0]["id"]), (Some(2), &json!("no key")));
    let (_, sorted) = ask(server, "GET", "/doc?select=n", Value::Null).await;
    assert!(sorted[0]["_id"].is_string());
    let changes = ours.changes("doc", 5).await;
    let events: Vec<_> = (0..5).map(|n| (&changes[n][1], &changes[n][2])).collect();
    let [b, one] = [json!("b"), json!(1)];
    let [created, updated, destroyed] = [json!(1), json!(2), json!(3)];
    assert_eq!(
        events,
        [(&created, &b), (&created, &one), (&updated, &b), (&updated, &b), (&destroyed, &one)]
    );
    let pushed = sails.event().await;
    assert_eq!((&pushed[0], &pushed[1]["id"]), (&json!("doc"), &b));
    assert_eq!(query(server, "/doc").await, "whole;key=_id;undeclared");
    assert_eq!(query(server, "/doc/b").await, "one;key=_id;undeclared");
}

#[tokio::test]
async fn refused_first_record_does_not_decide_the_key() {
    let server = start(builder()).await;
    let too_large = (1_u64 << 53) + 1;
    for refused in [
        json!({ "_id": {} }),
        json!({ "id": [], "_id": 1 }),
        json!({ "_id": too_large }),
        json!({ "id": too_large, "_id": 1 }),
    ] {
        assert_eq!(ask(&server, "POST", "/doc", refused).await.0, 400);
    }
    assert_eq!(query(&server, "/doc").await, "whole;undeclared");
    let (_, first) = ask(&server, "POST", "/doc", json!({ "id": null, "_id": "a" })).await;
    assert_eq!(first["_id"], "a");
    assert_eq!(query(&server, "/doc").await, "whole;key=_id;undeclared");
    server.shutdown().await;
}

#[tokio::test]
async fn key_stays_underscore_id_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(file(folder.path())).await;
    assert_eq!(query(&server, "/doc").await, "whole;undeclared");
    assert_eq!(ask(&server, "POST", "/doc", json!({ "_id": "a" })).await.1["_id"], "a");
    goes_by_underscore_id(&server).await;
    server.shutdown().await;
    let server = start(file(folder.path())).await;
    assert_eq!(query(&server, "/doc").await, "whole;key=_id;undeclared");
    ask(&server, "DELETE", "/doc/b", Value::Null).await;
    let (status, again) = ask(&server, "POST", "/doc", json!({ "title": "x" })).await;
    assert_eq!((status, again["_id"].is_number(), again.get("id")), (201, true, None));
    server.shutdown().await;
}

#[tokio::test]
async fn key_is_underscore_id_in_memory_too() {
    let server = start(builder()).await;
    let first = Socket::runtime(&server).await.post("/doc", json!({ "_id": "a" })).await;
    assert_eq!(first["headers"]["backwire-record"], "doc/a");
    goes_by_underscore_id(&server).await;
    server.shutdown().await;
}

#[tokio::test]
async fn key_stays_id_after_the_first_record() {
    let folder = tempfile::tempdir().unwrap();
    for first in [json!({ "title": "x" }), json!({ "id": 7, "_id": "a" })] {
        let server = start(file(folder.path())).await;
        let name = if first.get("id").is_some() { "/both" } else { "/none" };
        assert!(ask(&server, "POST", name, first).await.1["id"].is_number());
        server.shutdown().await;
        let server = start(file(folder.path())).await;
        let (_, second) = ask(&server, "POST", name, json!({ "_id": "b" })).await;
        assert!(second["id"].is_number() && second["_id"] == "b", "{second}");
        assert_eq!(query(&server, name).await, "whole;undeclared");
        server.shutdown().await;
    }
}
