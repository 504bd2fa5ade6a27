//! What one client's app would show, and what it was told on the way.

use std::collections::BTreeMap;

use backwire_client_native::{Client, Event, Events, Reply, Verb};
use serde_json::{Map, Value};

/// A list of todos that is live.
#[derive(Default)]
pub struct Screen {
    records: BTreeMap<u64, Map<String, Value>>,
    /// Offsets of all changes that were shown, in the order they were told.
    pub told: Vec<u64>,
    /// Up to here the log was in the first reply.
    pub snapshot: u64,
}

/// `offset` of the header `backwire-position`.
pub fn offset_of(reply: &Reply) -> u64 {
    let position = reply.headers.as_ref().and_then(|headers| headers["backwire-position"].as_str());
    let offset = position.and_then(|position| position.split_once(':')?.1.parse().ok());
    offset.unwrap_or_else(|| panic!("no position in {reply:?}"))
}

/// The records of a reply, by id.
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
    /// Reads the list, and listens from then on.
    pub async fn open(client: &Client) -> Self {
        let reply = client.request(Verb::Get, "/todo", None).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        Self { records: records_of(&reply), told: Vec::new(), snapshot: offset_of(&reply) }
    }

    /// Listens until it has been told of `count` changes in all.
    pub async fn listen(&mut self, events: &mut Events, count: usize) {
        while self.told.len() < count {
            match events.next().await.expect("the client goes on") {
                Event::News(news) => news.changes.iter().for_each(|change| self.show(change)),
                Event::Status(_) => {}
                // The log reaches back to the first change, so nothing is ever out of reach.
                event => panic!("{event:?}"),
            }
        }
    }

    /// A change of one's own, as the reply tells it.
    pub fn show_reply(&mut self, reply: &Reply) {
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
        let record = reply.body.as_deref().unwrap();
        self.told.push(offset_of(reply));
        self.records.insert(id_of(&record["id"]), attributes_of(record));
    }

    fn show(&mut self, change: &Value) {
        self.told.push(change[0].as_u64().unwrap());
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
