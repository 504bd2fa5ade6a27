//! References to destroyed records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use backwire::change::{Id, Resource};
use backwire::engine::{self, Engine, Reference, Sqlite, Window};
use backwire::model::{Attribute, Model};
use backwire::settings::{Settings, Store};
use backwire::write::{Action, Write};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::{ask, body, filled, owned, pushes, read};
use crate::client::{Socket, builder, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

#[tokio::test]
async fn members_of_a_destroyed_record_have_no_owner() {
    let server = filled(owned()).await;
    let mut s1 = Socket::stock(&server).await;
    s1.get("/user").await;
    s1.get("/pet").await;
    body(&server, "DELETE", "/user/1", Value::Null).await;
    let mut all = Vec::new();
    while all.len() < 3 {
        all.extend(pushes(&mut s1).await);
    }
    let pushes = all;
    let verbs: Vec<_> = pushes.iter().map(|it| (&it[1]["verb"], &it[1]["data"])).collect();
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
    // Over a socket, the cascade finishes before the next request.
    let mut runtime = Socket::runtime(&server).await;
    runtime.put("/user/2/pets", json!([1, 2])).await;
    let first = runtime.emit(&json!(["delete", { "url": "/user/2" }])).await;
    let second = runtime.emit(&json!(["get", { "url": "/pet?owner=2" }])).await;
    assert_eq!(runtime.ack(first).await["statusCode"], 200);
    assert_eq!(runtime.ack(second).await["body"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn required_owner_is_kept_when_its_record_is_destroyed() {
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
async fn repeated_destroy_does_not_affect_a_recreated_record() {
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

/// Blocks commits to pets while it is closed, and counts the blocked ones.
struct Gate {
    open: Semaphore,
    is_closed: AtomicBool,
    commits: AtomicUsize,
}

#[async_trait]
impl Interceptor for Gate {
    async fn before(&self, call: Call<'_>) -> Result<(), engine::Error> {
        if let Call::Commit(resource) = call
            && resource.as_str() == "pet"
            && self.is_closed.load(Ordering::SeqCst)
        {
            self.commits.fetch_add(1, Ordering::SeqCst);
            self.open.acquire().await.unwrap().forget();
        }
        Ok(())
    }
}

impl Gate {
    async fn has_commits(&self, count: usize) {
        while self.commits.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn destroy_with_many_references_is_answered_at_once_and_others_write_between_groups_of_500() {
    const PETS: usize = 1_200;
    let (open, is_closed, commits) = (Semaphore::new(0), AtomicBool::new(false), 0.into());
    let gate = Arc::new(Gate { open, is_closed, commits });
    let server = filled(owned().engine(intercepted_by(&gate))).await;
    let pets = vec![json!({ "owner": 1 }); PETS - 2];
    for pets in pets.chunks(1_000) {
        body(&server, "POST", "/pet", pets.into()).await;
    }
    gate.is_closed.store(true, Ordering::SeqCst);
    // No reference can be removed now. The destroy does not wait for that.
    body(&server, "DELETE", "/user/1", Value::Null).await;
    let mut removed = 0;
    for group in [500, 500, 200] {
        gate.has_commits(removed + group).await;
        assert_eq!(read(&server, "/pet?owner=1").await, json!([]));
        assert_eq!(read(&server, "/pet/1200").await["owner"], Value::Null);
        body(&server, "POST", "/todo", json!({})).await;
        // The remaining references wait for the next group.
        assert_eq!(gate.commits.load(Ordering::SeqCst), removed + group);
        removed += group;
        gate.open.add_permits(group);
    }
    assert_eq!(removed, PETS);
    server.shutdown().await;
}

#[tokio::test]
async fn references_are_removed_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("backwire.db");
    let (tail, _changes) = mpsc::channel(4096);
    let engine = Sqlite::open(&file, Window::default(), tail).unwrap();
    let resource = |name: &str| Resource::parse(name).unwrap();
    let write = |name: &str, action| Write {
        references: vec![Reference {
            resource: resource("pet"),
            attribute: "owner".to_owned(),
            is_pair: false,
        }],
        ..Write::new(resource(name), action, 0)
    };
    let create = |record: Value| Action::Create(record.as_object().unwrap().clone());
    engine.commit(write("user", create(json!({})))).await.unwrap();
    for owner in [1, 2, 1] {
        engine.commit(write("pet", create(json!({ "owner": owner })))).await.unwrap();
    }
    engine.commit(write("user", Action::Destroy(Id::Integer(1)))).await.unwrap();
    drop(engine);
    let settings = Settings { port: 0, store: Store::Sqlite(file.clone()), ..Settings::default() };
    let builder = builder().settings(settings).resource("user", super::user()).unwrap();
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    let server = start(builder.resource("pet", pet).unwrap()).await;
    let connection = rusqlite::Connection::open(&file).unwrap();
    let count = |sql: &str| -> i64 { connection.query_row(sql, (), |row| row.get(0)).unwrap() };
    while count("SELECT count(*) FROM cascades") > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(count("SELECT count(*) FROM records WHERE json ->> 'owner' = 1"), 0);
    assert_eq!(count("SELECT count(*) FROM records WHERE json ->> 'owner' = 2"), 1);
    server.shutdown().await;
}
