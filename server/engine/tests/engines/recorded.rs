//! Data in Redis that a former version has written. The file has one command for each key; bytes
//! that are not printable are escaped as in Rust.
//!
//! `BACKWIRE_RECORD=1 cargo test -p backwire-engine recorded` writes the file again. It should be
//! written only if the schema has a new number, to a new file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Client, Cmd, Value as Reply, cmd};
use backwire_engine::{ChangesSince, Device, Redis, SessionEdit, Window};
use backwire_records::change::{Position, Room};
use backwire_records::messages::flake::Node;
use backwire_records::model::{Attribute, Model, Models};
use serde_json::json;
use tokio::sync::mpsc;

use crate::queues::{device, post};
use crate::redis_server::{shared, unused_prefix};
use crate::store::{
    HOUR, NOON, Store, create, destroy, id, keyed, offsets, publish, redis_options, redis_with,
    todo, update,
};

/// The prefix of the keys in the file.
const PREFIX: &str = "PREFIX";

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/engines/redis_schema_1.txt")
}

async fn connection() -> MultiplexedConnection {
    let client = Client::open(shared().url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

fn phone() -> Device {
    device("ann", "phone")
}

/// Makes data of every kind.
async fn write_data(store: &Store) {
    let indexed = Attribute { indexed: true, ..Attribute::default() };
    let mut models = Models::default();
    models.declare("todo", Model::default().attribute("owner", indexed)).unwrap();
    store.engine.declare(&models).await.unwrap();
    store.engine.queues().begin(Node::new(0, 3).unwrap(), NOON).await.unwrap();
    store.apply(keyed("first", create(json!({ "title": "Milch – Brötchen", "owner": 1 })))).await;
    store.apply(create(json!({ "id": "a b", "title": "\"quoted\"\n", "owner": null }))).await;
    store.apply(update("1", json!({ "owner": 2 }))).await;
    store.apply(create(json!({ "title": "gone" }))).await;
    store.apply(destroy("2")).await;
    store.apply(publish(backwire_records::change::Verb::Update, "9", json!({ "x": 1 }))).await;
    store.commit(keyed("same", update("1", json!({ "owner": 2 })))).await;
    store.connect(&phone(), NOON).await;
    store.post(post(&["ann", "bob"], "news", 1)).await;
    store.post(post(&["ann"], "news", 2)).await;
    store.disconnect(&phone(), NOON).await;
    let set = [("cart".to_owned(), Some(json!([1, "x"])))].into();
    let edit = SessionEdit {
        id: "s1".into(),
        set,
        at: NOON,
        until: NOON + HOUR,
        ..SessionEdit::default()
    };
    store.engine.sessions().edit(edit).await.unwrap();
}

/// Returns a command for each key with the prefix.
async fn dump(redis: &mut MultiplexedConnection, prefix: &str) -> Vec<Cmd> {
    let pattern = format!("{}*", prefix.replace(['[', '{'], "?").replace(['}', ']'], "?"));
    let mut keys: Vec<String> = cmd("KEYS").arg(pattern).query_async(redis).await.unwrap();
    keys.sort();
    let mut commands = Vec::new();
    for key in keys {
        let kind: String = cmd("TYPE").arg(&key).query_async(redis).await.unwrap();
        let (name, reading) = match kind.as_str() {
            "hash" => ("HSET", vec!["HGETALL"]),
            "set" => ("SADD", vec!["SMEMBERS"]),
            "list" => ("RPUSH", vec!["LRANGE", "0", "-1"]),
            "zset" => ("ZADD", vec!["ZRANGE", "0", "-1", "WITHSCORES"]),
            "stream" => ("XADD", vec!["XRANGE", "-", "+"]),
            other => panic!("{key} is a {other}"),
        };
        let mut read = cmd(reading[0]);
        read.arg(&key).arg(&reading[1..]);
        let Reply::Array(items) = read.query_async(redis).await.unwrap() else { panic!("{key}") };
        let target = key.replacen(prefix, PREFIX, 1);
        if kind == "stream" {
            for item in items {
                let mut add = cmd(name);
                add.arg(&target);
                flatten(&item).iter().for_each(|part| {
                    add.arg(&part[..]);
                });
                commands.push(add);
            }
            continue;
        }
        let mut items = flatten(&Reply::Array(items));
        if kind == "zset" {
            items.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
        }
        if kind == "hash" {
            let pairs: BTreeMap<_, _> =
                items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
            items = pairs.into_iter().flat_map(|(name, value)| [name, value]).collect();
        }
        let mut add = cmd(name);
        add.arg(&target);
        items.iter().for_each(|part| {
            add.arg(&part[..]);
        });
        commands.push(add);
    }
    commands
}

fn flatten(reply: &Reply) -> Vec<Vec<u8>> {
    match reply {
        Reply::Array(items) => items.iter().flat_map(flatten).collect(),
        Reply::BulkString(bytes) => vec![bytes.clone()],
        other => panic!("{other:?}"),
    }
}

fn line(command: &Cmd) -> String {
    let words = command.args_iter().map(|word| match word {
        ::redis::Arg::Simple(word) => word.escape_ascii().to_string().replace(' ', "\\x20"),
        other => panic!("{other:?}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn command(line: &str, prefix: &str) -> Cmd {
    let mut words = line.split(' ').map(unescape);
    let mut command = Cmd::new();
    command.arg(words.next().unwrap());
    let key = String::from_utf8(words.next().unwrap()).unwrap();
    command.arg(key.replacen(PREFIX, prefix, 1));
    words.for_each(|word| {
        command.arg(word);
    });
    command
}

fn unescape(word: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), word.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next().unwrap() {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
            other => other,
        });
    }
    bytes
}

/// Writes the recorded data under an unused prefix. Returns the prefix, and the recorded epoch.
async fn replay() -> (String, u64) {
    let (mut redis, prefix) = (connection().await, unused_prefix());
    for line in std::fs::read_to_string(file()).unwrap().lines() {
        command(line, &prefix).query_async::<Reply>(&mut redis).await.unwrap();
    }
    let mut get = cmd("HGET");
    get.arg(format!("{prefix}:meta")).arg("epoch");
    let epoch = get.query_async(&mut redis).await.unwrap();
    (prefix, epoch)
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_data_of_schema_1_open() {
    if std::env::var_os("BACKWIRE_RECORD").is_some() {
        // The other test reads the file as well, so this is for a run of this test alone.
        let prefix = unused_prefix();
        let store = redis_with(redis_options(prefix.clone()), Window::default(), 1024);
        write_data(&store).await;
        store.engine.close().await;
        let commands = dump(&mut connection().await, &prefix).await;
        let lines: Vec<_> = commands.iter().map(line).collect();
        std::fs::write(file(), lines.join("\n") + "\n").unwrap();
    }
    let (prefix, epoch) = replay().await;
    let store = redis_with(redis_options(prefix), Window::default(), 1024);
    store.engine.queues().begin(Node::new(0, 3).unwrap(), NOON).await.unwrap();
    let records = store.records().await;
    let shown = records.iter().map(|it| json!([it["id"], it["title"], it["owner"]]));
    let expected = [json!([1, "Milch – Brötchen", 2]), json!(["a b", "\"quoted\"\n", null])];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
    let (room, position) = (Room::class(todo()), Position { epoch, offset: 3 });
    let since = store.engine.changes_since(&room, position).await.unwrap();
    let ChangesSince::Changes { changes, .. } = since else { panic!("clients resume") };
    assert_eq!(offsets(&changes), [4, 5, 6]);
    for key in ["first", "same"] {
        let write = if key == "first" { create(json!({})) } else { update("1", json!({})) };
        assert!(store.commit(keyed(key, write)).await.repeated, "{key}");
    }
    // Ids that may be lost with the former run of Redis are skipped.
    assert_eq!(store.apply(create(json!({}))).await.id, id("1003"));
    assert_eq!(store.waiting(&phone(), NOON).await, ["news 1", "news 2"]);
    assert_eq!(store.connect_and_read(&device("bob", ""), NOON).await, ["news 1"]);
    let session = store.engine.sessions().load("s1", NOON).await.unwrap().unwrap();
    assert_eq!(json!(*session.values), json!({ "cart": [1, "x"] }));
    assert_eq!(session.until, NOON + HOUR);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_a_later_schema_are_refused() {
    let (prefix, _) = replay().await;
    let mut set = cmd("HSET");
    set.arg(format!("{prefix}:meta")).arg("schema").arg(2);
    set.query_async::<u32>(&mut connection().await).await.unwrap();
    let (tail, _changes) = mpsc::channel(1);
    let refused = Redis::open(redis_options(prefix.clone()), Window::default(), tail).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        format!(
            "database: the data in Redis under `{prefix}` have schema 2, but this version of Backwire reads 1: \
             start the version that wrote them, or choose another prefix"
        )
    );
}
