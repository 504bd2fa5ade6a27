//! A client that keeps a list up to date as our runtime does: it applies pushes by their positions,
//! resumes if it is behind, and reads again if the server requires it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::RECOVERY;
use crate::client::{Socket, position};
use crate::polling::poll;

/// Records by their ids, as JSON texts.
pub(super) type Records = BTreeMap<String, Value>;

/// A connected client and its list of all todos.
pub(super) struct LiveList {
    socket: Socket,
    epoch: u64,
    offset: u64,
    pub(super) records: Records,
}

impl LiveList {
    pub(super) async fn open(addr: SocketAddr) -> Self {
        let socket = Socket::runtime_at(addr).await;
        let mut list = Self { socket, epoch: 0, offset: 0, records: Records::new() };
        list.read().await;
        list
    }

    /// Receives changes until the list has a record with this number. The connection has to be the
    /// one of the beginning.
    pub(super) async fn receive_until(&mut self, number: u64) {
        while !self.records.values().any(|record| record["n"] == number) {
            self.receive().await;
        }
    }

    /// Connects to another server, and resumes.
    pub(super) async fn reconnect(&mut self, addr: SocketAddr) {
        self.socket = Socket::runtime_at(addr).await;
        self.resume().await;
    }

    /// Sends a request over the connection.
    pub(super) async fn ask(&mut self, event: Value) -> Value {
        self.socket.ask(event).await
    }

    async fn receive(&mut self) {
        let push = self.socket.event().await;
        assert_eq!(push[1], "todo", "{push}");
        let (epoch, previous) = (push[2].as_u64(), push[3].as_u64().unwrap());
        let changes = push[4].as_array().unwrap();
        if epoch != Some(self.epoch) || previous > self.offset {
            self.resume().await;
        } else {
            changes.iter().for_each(|change| self.apply(change));
        }
    }

    async fn resume(&mut self) {
        let position = json!([["todo", self.epoch, self.offset]]);
        let missed = self.socket.ask(json!(["resume", position])).await;
        let Some(changes) = missed[0][3].as_array() else { return self.read().await };
        changes.iter().for_each(|change| self.apply(change));
        (self.epoch, self.offset) =
            (missed[0][1].as_u64().unwrap(), missed[0][2].as_u64().unwrap());
    }

    async fn read(&mut self) {
        let attempt = async || {
            let read = self.socket.get("/todo").await;
            assert!(read["statusCode"] == 200 || read["statusCode"] == 503, "{read}");
            (read["statusCode"] == 200).then_some(read)
        };
        let read = poll("the list can be read", RECOVERY, attempt).await;
        (self.epoch, self.offset) = position(&read);
        self.records = by_id(&read["body"]);
    }

    /// Applies a change: its offset, verb, id and data.
    fn apply(&mut self, change: &Value) {
        let offset = change[0].as_u64().unwrap();
        if offset <= self.offset {
            return;
        }
        self.offset = offset;
        let id = change[2].to_string();
        match change[1].as_u64() {
            Some(1) => drop(self.records.insert(id, change[3].clone())),
            Some(2) => {
                let record = self.records.get_mut(&id).unwrap().as_object_mut().unwrap();
                record.extend(change[3].as_object().unwrap().clone());
            }
            _ => drop(self.records.remove(&id)),
        }
    }
}

/// Reads the list of all todos over HTTP.
pub(super) async fn stored(addr: SocketAddr) -> Records {
    let read = reqwest::get(format!("http://{addr}/todo")).await.unwrap();
    assert_eq!(read.status(), 200);
    by_id(&read.json().await.unwrap())
}

fn by_id(records: &Value) -> Records {
    let records = records.as_array().unwrap().iter();
    records.map(|record| (record["id"].to_string(), record.clone())).collect()
}
