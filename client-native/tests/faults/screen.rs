//! The records that the app of one client shows, and the changes that it has received.

use std::collections::BTreeMap;

use backwire_client_native::{Client, Event, Events, Reply, Verb};
use serde_json::{Map, Value};

/// A live list of todos.
#[derive(Default)]
pub struct Screen {
    records: BTreeMap<u64, Map<String, Value>>,
    /// The offsets of all shown changes, in the order of arrival.
    pub offsets: Vec<u64>,
    /// The offset of the first reply.
    pub snapshot: u64,
}

/// Returns the offset of the header `backwire-position`.
pub fn offset_of(reply: &Reply) -> u64 {
    let position = reply.headers.as_ref().and_then(|headers| headers["backwire-position"].as_str());
    let offset = position.and_then(|position| position.split_once(':')?.1.parse().ok());
    offset.unwrap_or_else(|| panic!("no position in {reply:?}"))
}

/// Returns the records of a reply, by id.
pub fn records_of(reply: &Reply) -> BTreeMap<u64, Map<String, Value>> {
    let records = reply.body.as_ref().and_then(|body| body.as_array().cloned()).unwrap();
    records.into_iter().map(|record| (id_of(&record["id"]), attributes_of(&record))).collect()
}

fn id_of(id: &Value) -> u64 {
    id.as_u64().unwrap()
}

fn attributes_of(record: &Value) -> Map<String, Value> {
    record.as_object().cloned().unwrap()
}

impl Screen {
    /// Reads the list, which subscribes to it.
    pub async fn open(client: &Client) -> Self {
        let reply = client.request(Verb::Get, "/todo", None).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        Self { records: records_of(&reply), offsets: Vec::new(), snapshot: offset_of(&reply) }
    }

    /// Receives events until there were `count` changes in total.
    pub async fn listen(&mut self, events: &mut Events, count: usize) {
        while self.offsets.len() < count {
            match events.next().await.expect("the client goes on") {
                Event::Changes(delivery) => {
                    delivery.changes.iter().for_each(|change| self.show(change))
                }
                Event::Status(_) | Event::Resumed(_) => {}
                // The log contains all changes, so no position is out of reach.
                event => panic!("{event:?}"),
            }
        }
    }

    /// Applies the reply to a write of this client.
    pub fn show_reply(&mut self, reply: &Reply) {
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
        let record = reply.body.as_deref().unwrap();
        self.offsets.push(offset_of(reply));
        self.records.insert(id_of(&record["id"]), attributes_of(record));
    }

    fn show(&mut self, change: &Value) {
        self.offsets.push(change[0].as_u64().unwrap());
        let id = id_of(&change[2]);
        match change[1].as_u64() {
            Some(1) => drop(self.records.insert(id, attributes_of(&change[3]))),
            Some(2) => self.records.get_mut(&id).unwrap().extend(attributes_of(&change[3])),
            Some(3) => drop(self.records.remove(&id).unwrap()),
            verb => panic!("no such verb: {verb:?}"),
        }
    }

    pub fn records(&self) -> &BTreeMap<u64, Map<String, Value>> {
        &self.records
    }
}
