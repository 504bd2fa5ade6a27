//! The writes of a page. They are kept until they are answered, also when the page is reloaded.

use backwire_protocol::{Request, RequestKind, Verb};
use serde_json::{Value, json};

use super::storage::{KeptWrite, Pick, WriteKind};
use super::{Page, Purpose};
use crate::json::Json;
use crate::view::{Kind, Record};
use crate::world::World;

impl<W: World> Page<W> {
    /// Makes a write. `pick` decides which of the known records it concerns.
    pub fn write(&mut self, kind: Kind, write: &WriteKind, pick: Pick) {
        let number = self.network.writes.next();
        let mut body = Record::new();
        // Each write makes a version of its record that no other write makes.
        body.insert("stamp".into(), json!(number));
        let (verb, is_of_record) = match write {
            WriteKind::Create { done, rank } => {
                body.insert("done".into(), json!(done));
                body.insert("rank".into(), json!(rank));
                (Verb::Post, false)
            }
            WriteKind::Update { done, rank, is_patch } => {
                done.map(|done| body.insert("done".into(), json!(done)));
                rank.map(|rank| body.insert("rank".into(), json!(rank)));
                (if *is_patch { Verb::Patch } else { Verb::Put }, true)
            }
            WriteKind::Destroy => (Verb::Delete, true),
        };
        let id = is_of_record.then(|| self.pick(kind, pick));
        let Some(id) = id.map_or(Some(None), |id| id.map(Some)) else { return };
        let key = format!("{}-{number}", self.name);
        self.network.writes.made(&self.tab, &self.person, number, &key);
        self.network.written(number);
        let not_before = self.history.answered(kind);
        let body = Value::Object(body);
        self.storage.writes.insert(number, KeptWrite { verb, kind, id, body, key, not_before });
        self.send_write(number, RequestKind::New);
    }

    /// Sends the writes that former pages have left.
    pub(super) fn restore_writes(&mut self) {
        let numbers: Vec<u64> = self.storage.writes.keys().copied().collect();
        for number in numbers {
            self.send_write(number, RequestKind::Restored);
        }
    }

    /// Checks that a change is not one that the page has made and waits for the answer of: the page
    /// would have a new record twice.
    pub(super) fn check_echo(&self, mark: Option<u64>) {
        let waits = self.requests.values().filter_map(|pending| match pending.purpose {
            Purpose::Write(number) => Some(&self.storage.get(number).key),
            _ => None,
        });
        let echo = waits.into_iter().find(|key| Some(backwire_protocol::mark(key)) == mark);
        if let Some(key) = echo {
            self.history.violated(format!("{key} was pushed to its page before its answer"));
        }
    }

    fn send_write(&mut self, number: u64, kind: RequestKind) {
        let write = self.storage.get(number);
        let name = self.history.names().of(write.kind);
        let url =
            write.id.as_ref().map_or_else(|| format!("/{name}"), |id| format!("/{name}/{id}"));
        let body = (write.verb != Verb::Delete).then(|| Json::from(write.body.clone()));
        let key = Some(write.key.clone());
        let not_before = write.not_before;
        let request = Request { body, key, kind, ..Request::new(write.verb, url) };
        self.send_not_before(request, Purpose::Write(number), not_before);
    }
}
