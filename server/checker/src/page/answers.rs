//! Answers and pushes: what they change in the page, and whether they may say it.

use backwire_protocol::live::Answer;
use backwire_protocol::wire::{ChangeVerb, header};
use backwire_protocol::{Failure, Payload, Reply, Token, Verb};
use backwire_records::change::Id;
use serde_json::Value;

use super::{Page, Pending, Purpose};
use crate::json::Json;
use crate::log_position::LogPosition;
use crate::observations::{Seen, Truth};
use crate::view::{Kind, Record, Selection, View};
use crate::world::World;

/// The answer to a read.
struct Reading {
    view: View,
    room: Option<String>,
    description: String,
    records: Vec<(Id, Record)>,
    epoch: u64,
    offset: u64,
    /// Attributes that differ from the state that the page had.
    changed: Vec<String>,
}

impl Reading {
    fn of(reply: &Reply<Json>, view: View) -> Option<Self> {
        let Json(body) = reply.body.as_ref()?;
        let items = match &**body {
            Value::Array(items) => items.clone(),
            record => vec![record.clone()],
        };
        let record = |item: Value| match item {
            Value::Object(record) => Some((Id::from_json(record.get("id")?)?, record)),
            _ => None,
        };
        let (epoch, offset) = position_of(reply)?;
        Some(Self {
            view,
            room: text(reply, header::ROOM),
            description: text(reply, header::QUERY)?,
            records: items.into_iter().filter_map(record).collect(),
            epoch,
            offset,
            changed: Vec::new(),
        })
    }

    /// Whether it has all records of the resource.
    fn is_whole(&self) -> bool {
        self.description.split(';').next() == Some("whole")
    }

    /// Passes the answer to the queries.
    fn report(&self, queries: impl FnOnce(Answer<'_>)) {
        let ids: Vec<_> = self.records.iter().map(|(id, _)| id.to_string()).collect();
        let (ids, changed) = (&ids.join("\0"), &self.changed.join("\0"));
        let room = self.room.as_deref().unwrap_or_default();
        queries(Answer { room, description: &self.description, ids, changed });
    }
}

fn text(reply: &Reply<Json>, name: &'static str) -> Option<String> {
    reply.headers.as_ref()?.field(name)?.text()
}

fn position_of(reply: &Reply<Json>) -> Option<(u64, u64)> {
    let position = text(reply, header::POSITION)?;
    let (epoch, offset) = position.split_once(':')?;
    Some((epoch.parse().ok()?, offset.parse().ok()?))
}

fn names_of(set: &Record) -> String {
    set.keys().map(String::as_str).collect::<Vec<_>>().join("\0")
}

impl<W: World> Page<W> {
    pub(super) fn finish(&mut self, token: Token, result: Result<Reply<Json>, Failure>) {
        let Some(Pending { purpose, not_before, number }) = self.requests.remove(&token) else {
            return self.history.violated(format!("{}: {token:?} was answered twice", self.name));
        };
        let reply = result.unwrap_or_else(|failure| {
            self.network.log(&self.name, "failed", &format!("{failure:?}"));
            Reply { status: 0, body: None, headers: None }
        });
        match purpose {
            Purpose::Write(number) => self.written(number, &reply, not_before),
            Purpose::Read { target, query, view, replaces } => {
                let reading = self.check_read(&reply, view, (number, not_before));
                if let Some(mut reading) = reading {
                    self.learn(&mut reading);
                    self.apply_read(target, query, replaces, &reading);
                    self.report_others(&reading);
                }
                self.queries.end_read(target);
            }
            Purpose::Ask { query, view } => {
                match self.check_read(&reply, view, (number, not_before)) {
                    Some(mut reading) => {
                        self.learn(&mut reading);
                        reading.report(|answer| self.queries.answered(query, answer));
                        self.report_others(&reading);
                    }
                    None => self.ask_failed(query, reply.status),
                }
            }
        }
    }

    /// Checks the answer to a read against the truth at its position: all of it, and not older than
    /// what anyone had been answered with before the request was made.
    fn check_read(
        &self,
        reply: &Reply<Json>,
        view: View,
        (number, not_before): (u64, LogPosition),
    ) -> Option<Reading> {
        let url = view.url(self.history.names());
        if reply.status != 200 {
            let may_fail = matches!(reply.status, 0 | 401 | 403 | 404 | 429 | 503);
            if !may_fail {
                self.violated(&format!("{url} was answered with {}", reply.status));
            }
            return None;
        }
        let Some(reading) = Reading::of(reply, view.clone()) else {
            self.violated(&format!("{url} has an answer without a position"));
            return None;
        };
        let place = self.history.position(reading.epoch, reading.offset);
        if place < not_before {
            self.violated(&format!(
                "{url} was read at {place}, after somebody had been answered with {not_before}"
            ));
        }
        let people = self.identities();
        self.history.check_read(&self.name, &view, place, &people, &reading.records);
        self.history.answer(view.kind, place);
        self.network.writes.read(&self.tab, number, view.kind, reading.offset);
        Some(reading)
    }

    fn violated(&self, message: &str) {
        self.history.violated(format!("{}: {message}", self.name));
    }

    /// Stores the records of an answer, and collects the changed attributes.
    fn learn(&mut self, reading: &mut Reading) {
        if let Some(room) = &reading.room {
            self.places.insert(room.clone(), reading.offset);
        }
        self.records.enter(reading.view.kind, reading.epoch, reading.offset);
        for (id, record) in &reading.records {
            let changed = self.records.set(reading.view.kind, id, reading.offset, record);
            reading.changed.extend(changed);
            self.check_shown(reading.view.kind, id);
            self.check_access(reading.view.kind, record);
        }
    }

    /// Applies the answer to a fetch as Backbone does, then reports it to the queries.
    fn apply_read(&mut self, target: u32, query: u32, replaces: bool, reading: &Reading) {
        let entry = self.targets.entry(target).or_default();
        entry.ended.retain(|(other, _)| !replaces && *other != query);
        if replaces {
            entry.queries.retain(|(other, _)| *other == query);
            entry.shown.clear();
        }
        if !entry.queries.iter().any(|(other, _)| *other == query) {
            entry.queries.push((query, reading.view.clone()));
        }
        for (id, _) in &reading.records {
            if !entry.shown.contains(id) {
                entry.shown.push(id.clone());
            }
        }
        reading.report(|answer| self.queries.read(query, target, replaces, false, answer));
    }

    /// Reports the changes of an answer that the core does not deliver in other rooms: of a read of
    /// one record, and of the records that a read of the whole resource no longer has.
    fn report_others(&mut self, reading: &Reading) {
        let kind = reading.view.kind;
        let name = self.history.names().of(kind).to_owned();
        if let (Selection::One(_), Some(_), Some((id, _))) =
            (&reading.view.selection, &reading.room, reading.records.first())
        {
            self.report(kind, id, reading.offset, ChangeVerb::Updated, &Record::new());
        }
        if !reading.is_whole() {
            return;
        }
        self.records.was_read(kind, reading.offset);
        for id in self.records.ids(kind) {
            if !reading.records.iter().any(|(other, _)| *other == id) {
                self.places.remove(&format!("{name}/{id}"));
                self.report(kind, &id, reading.offset, ChangeVerb::Destroyed, &Record::new());
            }
        }
    }

    /// Reports a change in the class room that is not a push, unless a later change has ended it.
    fn report(&mut self, kind: Kind, id: &Id, offset: u64, change: ChangeVerb, set: &Record) {
        let is_true = if change == ChangeVerb::Destroyed {
            self.records.destroy(kind, id, offset)
        } else {
            if !set.is_empty() {
                self.records.set(kind, id, offset, set);
                self.check_shown(kind, id);
            }
            !self.records.is_gone(kind, id, offset)
        };
        if is_true {
            let room = self.history.names().of(kind);
            self.queries.changed(room, change, &id.to_string(), &names_of(set));
        }
    }

    fn ask_failed(&mut self, query: u32, status: u16) {
        let is_gone = matches!(status, 401 | 403 | 404);
        for target in self.targets.values_mut().filter(|_| is_gone) {
            target.queries.retain(|(other, _)| *other != query);
        }
        self.has_failed_queries |= !is_gone;
        self.queries.failed(query, is_gone);
    }

    /// Applies the answer to a write.
    fn written(&mut self, number: u64, reply: &Reply<Json>, not_before: LogPosition) {
        let Some(write) = self.storage.remove(number) else { return };
        self.network.writes.answered(&write.key, reply.status, self.network.now());
        let (200..300, Some((epoch, offset))) = (reply.status, position_of(reply)) else { return };
        // The server no longer knows the record of the write.
        if offset == 0 {
            return;
        }
        let place = self.history.position(epoch, offset);
        if place <= not_before {
            self.violated(&format!(
                "{} was committed at {place}, not after {not_before}",
                write.key
            ));
        }
        self.history.answer(write.kind, place);
        let body = reply.body.as_ref().and_then(|Json(body)| body.as_object().cloned());
        let id = body.as_ref().and_then(|body| Id::from_json(body.get("id")?));
        match (write.verb, body, write.id.or(id)) {
            (Verb::Delete, _, Some(id)) => {
                self.report(write.kind, &id, offset, ChangeVerb::Destroyed, &Record::new());
            }
            (verb, Some(body), Some(id)) => {
                let is_create = verb == Verb::Post;
                let change = if is_create { ChangeVerb::Created } else { ChangeVerb::Updated };
                self.report(write.kind, &id, offset, change, &body);
            }
            _ => {}
        }
    }

    pub(super) fn deliver(&mut self, room: &str, changes: &[Json]) {
        let Some(kind) = self.history.names().of_room(room) else { return };
        for Json(change) in changes {
            let (Some(offset), Some(id)) = (change[0].as_u64(), Id::from_json(&change[2])) else {
                self.violated(&format!("the room {room} has the change {change}"));
                continue;
            };
            let verb = change[1].as_u64().and_then(|verb| u32::try_from(verb).ok());
            let Some(verb) = verb.and_then(ChangeVerb::from_number) else { continue };
            let set = change[3].as_object().cloned().unwrap_or_default();
            if let Some(number) = set.get("stamp").and_then(Value::as_u64) {
                self.network.received(number);
            }
            self.places.insert(room.to_owned(), offset);
            self.check_echo(change[4].as_u64());
            self.apply_push(room, (kind, &id), offset, verb, &set);
        }
    }

    fn apply_push(
        &mut self,
        room: &str,
        (kind, id): (Kind, &Id),
        offset: u64,
        verb: ChangeVerb,
        set: &Record,
    ) {
        let names = match verb {
            ChangeVerb::Created => self.records.set(kind, id, offset, set).join("\0"),
            ChangeVerb::Updated => {
                self.records.set(kind, id, offset, set);
                names_of(set)
            }
            ChangeVerb::Destroyed => {
                self.records.destroy(kind, id, offset);
                String::new()
            }
            ChangeVerb::Left => String::new(),
        };
        if matches!(verb, ChangeVerb::Created | ChangeVerb::Updated) {
            self.check_shown(kind, id);
            let known = self.records.get(kind, id).and_then(|known| known.record.as_ref());
            known.into_iter().for_each(|record| self.check_access(kind, record));
        }
        self.queries.changed(room, verb, &id.to_string(), &names);
    }

    /// Checks that the page shows a record in a state that it had. After the store has lost
    /// changes, a record may have some of them until the page has read the resource again.
    fn check_shown(&self, kind: Kind, id: &Id) {
        let Some(known) = self.records.get(kind, id) else { return };
        if !self.history.is_current(self.records.epoch(kind)) {
            return;
        }
        let Some(record) = &known.record else { return };
        let seen = Seen { client: self.name.clone(), time: self.network.now() };
        self.history.check_shown(&seen, kind, id, known.offset, record);
    }
}
