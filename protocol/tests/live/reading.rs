//! Answers of the server, in the form that the page needs.

use backwire_protocol::Reply;
use backwire_protocol::live::Answer;
use serde_json::Value;

use crate::criteria::Record;
use crate::json::Json;

/// The answer to a read.
#[derive(Debug)]
pub struct Reading {
    pub room: String,
    description: String,
    pub ids: Vec<String>,
    pub records: Vec<Record>,
    pub position: usize,
    /// Attributes that differ from the state that the page had.
    pub changed: Vec<String>,
}

impl Reading {
    pub fn of(reply: &Reply<Json>) -> Option<Self> {
        let (Some(Json(body)), Some(Json(headers))) = (&reply.body, &reply.headers) else {
            return None;
        };
        let records = body.as_array()?;
        Some(Self {
            room: headers["backwire-room"].as_str()?.into(),
            description: headers["backwire-query"].as_str()?.into(),
            ids: records.iter().filter_map(|record| Some(record[0].as_str()?.into())).collect(),
            records: records.iter().filter_map(|record| record[1].as_object().cloned()).collect(),
            position: position_of(headers)?,
            changed: Vec::new(),
        })
    }

    /// Passes the answer to the queries.
    pub fn report(&self, queries: impl FnOnce(Answer<'_>)) {
        let (ids, changed) = (&self.ids.join("\0"), &self.changed.join("\0"));
        queries(Answer { room: &self.room, description: &self.description, ids, changed });
    }
}

pub fn items(joined: &str) -> Vec<String> {
    joined.split('\0').filter(|item| !item.is_empty()).map(Into::into).collect()
}

pub fn names_of(set: &Record) -> String {
    set.keys().map(String::as_str).collect::<Vec<_>>().join("\0")
}

pub fn position_of(headers: &Value) -> Option<usize> {
    headers["backwire-position"].as_str()?.strip_prefix("7:")?.parse().ok()
}
