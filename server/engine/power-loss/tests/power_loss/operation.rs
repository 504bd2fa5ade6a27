//! The operations of a history: writes, and steps of the queues.

use std::sync::Arc;

use backwire_engine::{Device, Enqueue, Reference};
use backwire_records::change::{Attributes, Id, Resource};
use backwire_records::messages::message::Message;
use backwire_records::messages::rules::Ttl;
use backwire_records::model::{Attribute, Model, Models, Timestamps};
use backwire_records::write::{Action, Key, Write};
use serde_json::Value;
use serde_json::value::to_raw_value;

/// The resources. A pet has an owner, who is a user.
pub(crate) const RESOURCES: [&str; 3] = ["note", "pet", "user"];

/// The persons that messages are sent to, with their devices.
pub(crate) const DEVICES: [(&str, &str); 3] = [("ann", "laptop"), ("ann", "phone"), ("bob", "")];

/// The time of the first write.
pub(crate) const NOON: u64 = 1_795_190_400_000;

/// How long messages wait: for ever.
pub(crate) const TTL: Ttl = Ttl::seconds(0);

/// An operation, which can be repeated.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// A write, with the number of its idempotency key.
    Write { resource: &'static str, action: Action, key: Option<u64> },
    /// A message to persons. Its number is its argument, and its idempotency key if it has one.
    Send { number: u64, persons: Vec<&'static str>, has_key: bool },
    /// The first connect of a device.
    Connect { device: (&'static str, &'static str) },
    /// The ack of messages by a device.
    Ack { device: (&'static str, &'static str), numbers: Vec<u64> },
    /// The end of the cascade of a destroyed user.
    Finish { user: Id },
}

impl Operation {
    /// Returns the number of the idempotency key of a write.
    pub(crate) fn key(&self) -> Option<u64> {
        match self {
            Self::Write { key, .. } => *key,
            _ => None,
        }
    }
}

pub(crate) fn resource(name: &str) -> Resource {
    Resource::parse(name).unwrap()
}

/// Returns the declared models: pets have unique tags, and are looked up by color and owner.
pub(crate) fn models() -> Models {
    let mut models = Models::default();
    for name in RESOURCES {
        models.declare(name, model(name)).unwrap();
    }
    models
}

fn model(name: &str) -> Model {
    let model = Model { timestamps: Timestamps::Off, ..Model::default() };
    if name != "pet" {
        return model;
    }
    let attribute = Attribute::default;
    model
        .attribute("tag", Attribute { unique: true, ..attribute() })
        .attribute("color", Attribute { indexed: true, ..attribute() })
        .attribute("owner", Attribute { model: Some("user".to_owned()), ..attribute() })
}

/// Returns the attribute that refers to users.
pub(crate) fn owner_of_pets() -> Reference {
    Reference { resource: resource("pet"), attribute: "owner".to_owned(), is_pair: false }
}

pub(crate) fn key(number: u64) -> Key {
    Key { identity: "ann".into(), key: format!("key {number}").into(), fingerprint: number }
}

/// Returns a write as it is committed.
pub(crate) fn write(name: &'static str, action: Action, number: Option<u64>, at: u64) -> Write {
    let destroys_user = name == "user" && matches!(action, Action::Destroy(_));
    Write {
        resource: resource(name),
        model: Arc::new(model(name)),
        action,
        within: Default::default(),
        author: None,
        references: destroys_user.then(owner_of_pets).into_iter().collect(),
        key: number.map(key),
        limits: Default::default(),
        client: None,
        memory: Default::default(),
        origin: None,
        new_members: None,
        at,
    }
}

/// Returns a message as it is sent.
pub(crate) fn message(number: u64, persons: &[&str], has_key: bool, at: u64) -> Enqueue {
    let args = vec![to_raw_value(&number).unwrap()];
    let message = Message { rooms: Vec::new(), event: "e".to_owned(), args, resync: false };
    Enqueue {
        site: "shop".into(),
        message: Arc::new(message),
        persons: persons.iter().copied().map(Arc::from).collect(),
        key: has_key.then(|| key(number)),
        ttl: TTL,
        cap: 1000,
        at,
        list: None,
    }
}

pub(crate) fn device((person, name): (&str, &str)) -> Device {
    Device { site: "shop".into(), person: person.into(), name: name.into() }
}

pub(crate) fn attributes(value: Value) -> Attributes {
    match value {
        Value::Object(attributes) => attributes,
        other => panic!("not an object: {other}"),
    }
}
