//! Nobody creates, transfers or takes records in the name of another person.

use axum::routing::post;
use backwire::change::Attributes;
use backwire::error::Result;
use backwire::route::Shortcuts;
use backwire::server::Builder;
use backwire::settings::{Settings, Store};
use backwire::{Context, Server};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::{model, signed_in, with_sign_in, write};
use crate::browser::Browser;
use crate::client::start;

/// Starts a server with the sample of the documentation, and with shortcuts, associations and a
/// custom handler that write.
async fn serve(access: Value) -> Server {
    async fn handler(cx: Context) -> Result<backwire::blueprints::Reply> {
        let note = json!({ "userId": "ann", "text": "planted" });
        cx.create("note", serde_json::from_value::<Attributes>(note).unwrap()).await
    }
    let settings = Settings {
        port: 0,
        store: Store::Memory,
        shortcuts: Some(Shortcuts::Write),
        api_key: Some("secret".parse().unwrap()),
        ..Settings::default()
    };
    let note = model(json!({
        "attributes": {
            "userId": { "model": "user" },
            "tags": { "collection": "tag", "via": "notes" },
        },
        "access": access,
    }));
    let user = model(json!({
        "ids": "client", "attributes": { "notes": { "collection": "note", "via": "userId" } },
    }));
    let tag = model(json!({ "attributes": { "notes": { "collection": "note", "via": "tags" } } }));
    let builder: Builder = with_sign_in(Server::builder().settings(settings));
    let builder = builder.route("/handler", post(handler)).resource("note", note).unwrap();
    let builder = builder.resource("user", user).unwrap().resource("tag", tag).unwrap();
    let server = start(builder).await;
    let mut anybody = Browser::new(&server);
    for id in ["ann", "bob"] {
        let (status, _) = write(&mut anybody, Method::POST, "/user", json!({ "id": id })).await;
        assert_eq!(status, 201);
    }
    write(&mut anybody, Method::POST, "/tag", json!({})).await;
    server
}

/// Status and field of a refusal.
fn refusal(status: &Value, body: &Value) -> Value {
    json!([status, body["code"], body["field"]])
}

#[tokio::test]
async fn record_cannot_be_created_in_the_name_of_somebody_else() {
    let create = json!(["signedIn"]);
    let server = serve(json!({ "owner": "userId", "read": "everyone", "create": create })).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let planted = json!({ "userId": "ann", "text": "planted" });
    let refused = json!([403, "E_FORBIDDEN", "userId"]);
    for (method, path, body) in [
        (Method::POST, "/note", planted.clone()),
        (Method::POST, "/note", json!([{ "text": "mine" }, planted])),
        (Method::POST, "/note", json!({ "userId": ["ann"] })),
        (Method::GET, "/note/create?userId=ann&text=planted", json!({})),
        (Method::POST, "/user/ann/notes", json!({ "text": "planted" })),
        (Method::POST, "/user/bob/notes", json!([planted])),
        (Method::POST, "/tag/1/notes", planted.clone()),
        (Method::POST, "/handler", json!({})),
    ] {
        let (status, body) = write(&mut bob, method.clone(), path, body).await;
        let is_list_of_one = path == "/user/bob/notes";
        let expected = if is_list_of_one { &json!([400, "E_BAD_BODY", "body"]) } else { &refused };
        assert_eq!(refusal(&json!(status), &body), *expected, "{method} {path}");
    }
    for mut socket in [bob.runtime(&server).await, bob.socket(&server).await] {
        let reply = socket.post("/note", planted.clone()).await;
        assert_eq!(refusal(&reply["statusCode"], &reply["body"]), refused);
    }
    assert_eq!(bob.get("/note").await, json!([]));
    let own = json!({ "userId": "bob" });
    for (path, own) in [("/note", json!({})), ("/note", own), ("/user/bob/notes", json!({}))] {
        let (status, note) = write(&mut bob, Method::POST, path, own).await;
        assert_eq!((status, &note["userId"]), (201, &json!("bob")), "{path}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn anonymous_caller_creates_only_records_without_an_owner() {
    let server =
        serve(json!({ "owner": "userId", "read": "everyone", "create": "everyone" })).await;
    let mut nobody = Browser::new(&server);
    let planted = json!({ "userId": "ann" });
    let (status, body) = write(&mut nobody, Method::POST, "/note", planted).await;
    assert_eq!(refusal(&json!(status), &body), json!([403, "E_FORBIDDEN", "userId"]));
    let (status, note) = write(&mut nobody, Method::POST, "/note", json!({})).await;
    assert_eq!((status, note.get("userId")), (201, None));
    server.shutdown().await;
}

#[tokio::test]
async fn only_callers_with_assign_access_change_the_owner_of_a_record() {
    let any = json!(["signedIn"]);
    let server = serve(json!({
        "owner": "userId", "assign": { "role": "admin" },
        "read": "everyone", "create": any, "update": any,
    }))
    .await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let (_, note) = write(&mut ann, Method::POST, "/note", json!({})).await;
    let path = format!("/note/{}", note["id"]);
    let refused = json!([403, "E_FORBIDDEN", "userId"]);
    let (member, all) = (format!("/user/bob/notes/{}", note["id"]), "/user/ann/notes".to_owned());
    for (path, set) in
        [(&path, json!({ "userId": "bob" })), (&member, json!({})), (&all, json!([]))]
    {
        let (status, body) = write(&mut bob, Method::PUT, path, set).await;
        assert_eq!(refusal(&json!(status), &body), refused, "{path}");
    }
    for given in [json!("bob"), Value::Null] {
        let (status, body) =
            write(&mut ann, Method::PATCH, &path, json!({ "userId": given })).await;
        assert_eq!(refusal(&json!(status), &body), refused);
    }
    // Backbone saves a model with all its attributes.
    let set = json!({ "userId": "ann", "text": "Milk" });
    assert_eq!(write(&mut bob, Method::PUT, &path, set).await.0, 200);
    let mut admin = signed_in(&server, "eve", &["admin"]).await;
    let set = json!({ "userId": "bob" });
    assert_eq!(write(&mut admin, Method::PUT, &path, set.clone()).await.0, 200);
    assert_eq!(write(&mut admin, Method::POST, "/note", set).await.1["userId"], "bob");
    assert_eq!(bob.get(&path).await["userId"], "bob");
    // After the owner is destroyed, the record has no owner.
    assert_eq!(write(&mut bob, Method::DELETE, "/user/bob", json!({})).await.0, 200);
    assert_eq!(bob.get(&path).await["userId"], Value::Null);
    server.shutdown().await;
}

#[tokio::test]
async fn upsert_sets_the_owner_of_new_records_only() {
    let access = json!({ "owner": "userId", "read": "everyone", "create": "signedIn", "update": "signedIn" });
    let note = model(json!({ "upsert": true, "access": access }));
    let server =
        start(with_sign_in(crate::client::builder()).resource("note", note).unwrap()).await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let upsert = async |who: &mut Browser, path: &str, set: Value| {
        let (status, body) = write(who, Method::PUT, path, set).await;
        (status, body["userId"].clone(), body["field"].clone())
    };
    let (hers, refused) = (json!("ann"), json!("userId"));
    assert_eq!(upsert(&mut ann, "/note/1", json!({})).await, (201, hers.clone(), Value::Null));
    let set = json!({ "text": "of bob" });
    assert_eq!(upsert(&mut bob, "/note/1", set).await, (200, hers.clone(), Value::Null));
    for (path, owner) in [("/note/1", "bob"), ("/note/2", "ann")] {
        let set = json!({ "userId": owner });
        assert_eq!(upsert(&mut bob, path, set).await, (403, Value::Null, refused.clone()));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn back_end_with_the_api_key_publishes_events_of_any_owner() {
    let server = serve(json!({ "owner": "userId", "create": "signedIn" })).await;
    let url = format!("http://{}/publish?apiKey=secret", server.addr());
    let data = json!({ "userId": "ann" });
    let news = json!({ "model": "note", "verb": "update", "id": "n", "data": data });
    assert_eq!(Client::new().post(url).json(&news).send().await.unwrap().status(), 200);
    server.shutdown().await;
}
