//! The part of the shim, between the client, the queries and Backbone.

use std::collections::BTreeSet;

use backwire_protocol::live::Output as Step;
use backwire_protocol::wire::ChangeVerb;
use backwire_protocol::{Reply, Token, Verb};

use crate::criteria::{Criteria, Record};
use crate::json::Json;
use crate::page::{Page, Purpose};
use crate::reading::{Reading, items, names_of, position_of};

impl Page {
    pub fn deliver(&mut self, room: &str, changes: &[Json]) {
        for Json(change) in changes {
            let kind = ChangeVerb::from_number(change[1].as_u64().expect("a verb") as u32);
            let offset = change[0].as_u64().expect("an offset") as usize;
            let set = change[3].as_object().cloned().unwrap_or_default();
            self.places.insert(room.into(), offset);
            self.apply(room, &change[2].to_string(), offset, kind.expect("a verb"), &set);
        }
    }

    fn apply(&mut self, room: &str, id: &str, offset: usize, change: ChangeVerb, set: &Record) {
        let names = match change {
            ChangeVerb::Created => self.records.set(id, offset, set).join("\0"),
            ChangeVerb::Updated => {
                self.records.set(id, offset, set);
                names_of(set)
            }
            ChangeVerb::Destroyed => {
                self.records.destroy(id, offset);
                String::new()
            }
            ChangeVerb::Left => String::new(),
        };
        self.queries.changed(room, change, id, &names);
    }

    pub fn finish(&mut self, token: Token, reply: &Reply<Json>) {
        let reading = Reading::of(reply);
        match (self.requests.remove(&token).expect("each is answered once"), reading) {
            (Purpose::Write { verb, set }, _) => self.wrote(verb, &set, reply),
            (Purpose::Read { target, stops, .. }, Some(mut reading))
                if self.targets[&target].stops != stops =>
            {
                self.learn(&mut reading);
                reading.report(|answer| self.queries.answered(u32::MAX, answer));
                self.report_others(&reading);
            }
            (Purpose::Read { target, query, criteria, replaces, stops }, reading) => {
                if let Some(mut reading) = reading {
                    self.learn(&mut reading);
                    self.read(target, query, &criteria, replaces, &reading);
                    self.report_others(&reading);
                }
                if self.targets[&target].stops == stops {
                    self.queries.end_read(target);
                }
            }
            (Purpose::Ask { query }, Some(mut reading)) => {
                self.learn(&mut reading);
                reading.report(|answer| self.queries.answered(query, answer));
                self.report_others(&reading);
            }
            (Purpose::Ask { query }, None) => self.failed(query, reply.status == 404),
        }
    }

    /// Stores the records of an answer, and collects the changed attributes.
    fn learn(&mut self, reading: &mut Reading) {
        self.places.insert(reading.room.clone(), reading.position);
        for (id, record) in reading.ids.iter().zip(&reading.records) {
            reading.changed.extend(self.records.set(id, reading.position, record));
        }
    }

    /// Reports the changes of an answer that the core does not deliver in other rooms: a read of
    /// one record in the class room, and a read of the whole resource in the rooms of single
    /// records.
    fn report_others(&mut self, reading: &Reading) {
        if reading.room.starts_with("todo/") {
            self.report(&reading.ids[0], reading.position, ChangeVerb::Updated, &Record::new());
        }
        let singles =
            self.places.keys().filter_map(|room| Some(room.strip_prefix("todo/")?.to_owned()));
        for id in singles.filter(|_| reading.room == "todo").collect::<Vec<_>>() {
            if !reading.ids.contains(&id) {
                self.places.remove(&format!("todo/{id}"));
                self.report(&id, reading.position, ChangeVerb::Destroyed, &Record::new());
            }
        }
    }

    fn wrote(&mut self, verb: u64, set: &Record, reply: &Reply<Json>) {
        let (Some(Json(id)), Some(Json(headers))) = (&reply.body, &reply.headers) else { return };
        let change = ChangeVerb::from_number(verb as u32).expect("a verb");
        self.report(&id.to_string(), position_of(headers).expect("a position"), change, set);
    }

    /// Reports a change in the class room that is not a push, unless a later change has ended it.
    fn report(&mut self, id: &str, position: usize, change: ChangeVerb, set: &Record) {
        let is_true = if change == ChangeVerb::Destroyed {
            self.records.destroy(id, position)
        } else {
            self.records.set(id, position, set);
            !self.records.is_gone(id, position)
        };
        if is_true {
            self.queries.changed("todo", change, id, &names_of(set));
        }
    }

    /// Applies the answer to a fetch as Backbone does, then reports it to the queries.
    fn read(
        &mut self,
        id: u32,
        query: u32,
        criteria: &Criteria,
        replaces: bool,
        reading: &Reading,
    ) {
        let target = self.targets.get_mut(&id).expect("it was read");
        if replaces {
            target.queries.retain(|(other, _)| *other == query);
            target.models.clear();
            target.shown.clear();
        }
        if !target.queries.iter().any(|(other, _)| *other == query) {
            target.queries.push((query, criteria.clone()));
        }
        for id in &reading.ids {
            if !target.models.contains(id) {
                target.models.push(id.clone());
            }
            target.shown.entry(id.clone()).or_insert(reading.position);
        }
        let own = target.has_own_order;
        reading.report(|answer| self.queries.read(query, id, replaces, own, answer));
    }

    fn failed(&mut self, query: u32, is_gone: bool) {
        for target in self.targets.values_mut().filter(|_| is_gone) {
            target.queries.retain(|(other, _)| *other != query);
        }
        self.queries.failed(query, is_gone);
    }

    pub fn follow(&mut self) {
        while let Some(step) = self.queries.poll() {
            match step {
                Step::Ask(query) => {
                    self.asks += 1;
                    self.request(Verb::Get, Purpose::Ask { query }, query);
                }
                Step::Leave(room) => {
                    assert!(!self.queries.is_followed(&room), "{room} is left but followed");
                    self.client.unsubscribe(&room);
                    self.places.remove(&room);
                    self.carry_out();
                    self.refresh_singles(&room);
                }
                Step::Show { target, added, removed, order } => {
                    self.show(target, &items(&added), &items(&removed), order.map(|o| items(&o)));
                }
            }
        }
    }

    /// Refreshes the rooms of single records after the class room is left. A push in flight in the
    /// class room may contain their changes, and the core no longer takes it.
    fn refresh_singles(&mut self, left: &str) {
        for room in self.places.keys().filter(|room| left == "todo" && room.starts_with("todo/")) {
            self.queries.refresh(room);
        }
    }

    fn show(&mut self, id: u32, added: &[String], removed: &[String], order: Option<Vec<String>>) {
        for gone in removed {
            assert!(self.targets[&id].shown.contains_key(gone), "{gone} is removed but not shown");
            self.check_removal(id, gone);
        }
        let known_at = self.known_at(id);
        let target = self.targets.get_mut(&id).expect("a target that is not stopped");
        target.models.retain(|model| !removed.contains(model));
        target.shown.retain(|shown, _| !removed.contains(shown));
        let is_removed =
            |one: &Criteria| removed.iter().any(|id| one.room() == format!("todo/{id}"));
        target.queries.retain(|(_, criteria)| !is_removed(criteria));
        for new in added {
            let is_new = target.shown.insert(new.clone(), known_at).is_none();
            assert!(is_new, "{new} is added but already shown");
            target.models.push(new.clone());
        }
        if let Some(order) = order {
            assert!(!target.has_own_order, "the page has a comparator");
            let shown: BTreeSet<_> = target.shown.keys().collect();
            assert_eq!(order.iter().collect::<BTreeSet<_>>(), shown, "the order has all ids");
            assert_eq!(order.len(), shown.len());
            let own: Vec<_> =
                target.models.iter().filter(|id| id.starts_with("own")).cloned().collect();
            target.models = order.into_iter().chain(own).collect();
        }
    }

    /// Returns the position up to which all queries of a target are known.
    fn known_at(&self, id: u32) -> usize {
        let rooms = self.targets[&id].queries.iter().map(|(_, criteria)| criteria.room());
        rooms.map(|room| self.places.get(&room).copied().unwrap_or(0)).min().unwrap_or(0)
    }

    /// Checks that a removed record was missing in all results at some time since it was shown. Two
    /// lists with filters report a record that moves between them one after the other, so they are
    /// exempt. So are pushes that arrive out of order.
    fn check_removal(&self, id: u32, gone: &str) {
        let target = &self.targets[&id];
        let criteria: Vec<_> = target.queries.iter().map(|(_, criteria)| criteria).collect();
        let is_atomic = criteria.len() == 1 || criteria.iter().all(|criteria| criteria.is_part());
        if !self.server.is_orderly || !is_atomic {
            return;
        }
        let states = &self.server.states[target.shown[gone]..];
        let is_in = |state| criteria.iter().any(|c| c.evaluate(state).iter().any(|id| id == gone));
        assert!(!states.iter().all(is_in), "{gone} flickers in {criteria:?}");
    }
}
