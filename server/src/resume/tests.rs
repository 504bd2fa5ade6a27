//! Compares the answers with those of a simple implementation, over random logs and rooms.

use std::sync::Arc;

use backwire_engine::{ChangesSince, Engine, Environment, Memory, Sqlite, Window};
use backwire_records::change::{Attributes, Id, Position, Resource, Room};
use backwire_records::criteria::{Filter, Projection, Scope, Sort, Window as Part};
use backwire_records::model::Models;
use backwire_records::write::{Action, Write};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::SharedLogs;
use super::answers::{Budget, Source};
use super::entry::{Entry, JoinedRoom};
use super::log::Log;
use crate::answer_claim::AnswerClaim;
use crate::dialect::runtime;
use crate::incoming::ClientPosition;
use crate::settings::Limits;
use crate::socket::OutputBudget;

/// The simple implementation has no limit.
const NO_LIMIT: usize = 1 << 40;

/// Pseudo-random numbers that depend only on a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn resource(&mut self) -> Resource {
        Resource::parse(["todo", "cart"][self.below(2) as usize]).unwrap()
    }

    fn action(&mut self) -> Action {
        let id = Id::Integer(self.below(40) as i64);
        let set = json!({ "n": self.below(3), "text": "x".repeat(self.below(2000) as usize) });
        let set: Attributes = set.as_object().unwrap().clone();
        match self.below(4) {
            0 => Action::Destroy(id),
            _ => Action::Upsert(id, set),
        }
    }

    fn scope(&mut self) -> Scope {
        let n = self.below(3);
        let filters = [json!({ "n": n }), json!({ "n": { ">": n } }), json!({ "not": { "n": n } })];
        let filter = Filter::read(filters[self.below(3) as usize].clone()).unwrap();
        match self.below(3) {
            0 => Scope::One(Id::Integer(self.below(40) as i64), filter),
            1 => Scope::Whole(filter),
            _ => {
                Scope::Part(filter, Part::default(), Sort::default(), Projection::Whole, [].into())
            }
        }
    }

    fn room(&mut self) -> Room {
        let resource = self.resource();
        match self.below(4) {
            0 => Room::class(resource),
            1 => Room::instance(resource, Id::Integer(self.below(40) as i64)),
            _ => Room::scoped(resource, self.scope()).unwrap(),
        }
    }

    fn entry(&mut self, epoch: u64) -> Entry {
        let (room, offset) = (self.room(), self.below(130));
        let epoch = epoch + u64::from(self.below(10) == 0);
        let mut ahead = Vec::new();
        while self.below(3) == 0 {
            let epoch = epoch + u64::from(self.below(10) == 0);
            ahead.push(Position { epoch, offset: offset + self.below(60) });
        }
        let seen = ClientPosition { position: Position { epoch, offset }, ahead };
        Entry { name: room.to_string(), seen, joined: Some(Arc::new(joined(room))) }
    }
}

fn joined(room: Room) -> JoinedRoom {
    JoinedRoom { room, is_hiding: false }
}

/// Reads the log separately for each entry.
async fn simple_answer(engine: &dyn Engine, entry: &Entry) -> Box<RawValue> {
    let joined = entry.joined.as_ref().unwrap();
    let (mut changes, mut head) = (Vec::new(), None);
    let mut positions: Vec<_> = entry.positions().collect();
    positions.reverse();
    for position in positions {
        match engine.changes_since(&joined.room, position).await.unwrap() {
            ChangesSince::Changes { changes: missed, head: at } => {
                (changes, head) = (missed, Some(at))
            }
            ChangesSince::OutOfReach => return runtime::resync(&entry.name),
        }
    }
    match joined.room.scope() {
        None => runtime::missed_changes(&entry.name, head.unwrap(), &changes),
        Some(scope) => {
            let followed = runtime::FollowedScope { scope, is_hiding: joined.is_hiding };
            let matching = runtime::filter_changes(followed, &changes);
            runtime::missed_scope_changes(&entry.name, scope, head.unwrap(), &matching)
        }
    }
}

async fn write(engine: &dyn Engine, random: &mut Random, at: u64) {
    let (resource, action) = (random.resource(), random.action());
    commit(engine, resource, action, at).await;
}

async fn commit(engine: &dyn Engine, resource: Resource, action: Action, at: u64) {
    // A record that does not exist cannot be destroyed.
    let _ = engine.commit(Write::new(resource, action, at)).await;
}

async fn assert_answers_agree(engine: &dyn Engine, seed: u64) {
    let mut random = Random(seed);
    for at in 0..250 {
        write(engine, &mut random, at).await;
    }
    let todo = Resource::parse("todo").unwrap();
    let epoch = engine.find_one(&todo, &Id::Integer(1)).await.unwrap().position.epoch;
    let (logs, models) = (shared_logs(), Models::default());
    let changes = &logs.memory(None);
    let source = Source { engine, logs: &logs, models: &models, memory: changes };
    let memory = unlimited();
    let mut before = None;
    for round in 0..8 {
        let count = random.below(if round % 2 == 0 { 4 } else { 120 }) + 1;
        let entries: Vec<_> = (0..count).map(|_| random.entry(epoch)).collect();
        let mut budget = Budget::new(NO_LIMIT, 1 << 40, &memory);
        let answers = source.answers(&entries, &mut budget, || true).await;
        assert_eq!(answers.len(), entries.len());
        for (entry, answer) in entries.iter().zip(&answers) {
            let expected = simple_answer(engine, entry).await;
            assert_eq!(
                answer.get(),
                expected.get(),
                "seed {seed}, {} {:?}",
                entry.name,
                entry.seen
            );
        }
        write(engine, &mut random, 300).await;
        // Another client is still being answered.
        let seen = Position { epoch, offset: 115 };
        before = logs.read(engine, &todo, seen, changes).await.unwrap();
    }
    drop(before);
}

/// Memory without a limit.
fn unlimited() -> AnswerClaim {
    AnswerClaim::new(OutputBudget::new(NO_LIMIT), None, false)
}

fn shared_logs() -> SharedLogs {
    let mut limits = Limits::default();
    (limits.resume_bytes, limits.total_resume_bytes) = (NO_LIMIT, NO_LIMIT);
    SharedLogs::new(Environment::tokio(), &limits)
}

fn window() -> Window {
    Window { count: 100, ..Window::default() }
}

#[tokio::test]
async fn answers_equal_those_of_separate_reads_for_each_room() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..12 {
        let seed = rand::random::<u64>();
        println!("seed {seed}");
        let (tail, _receiver) = mpsc::channel(4096);
        assert_answers_agree(&Memory::new(window(), tail.clone()), seed).await;
        let path = folder.path().join(format!("{number}.db"));
        assert_answers_agree(&Sqlite::open(path, window(), tail).unwrap(), seed).await;
    }
}

#[tokio::test]
async fn filters_beyond_work_limit_of_one_resume_are_resynced() {
    let (tail, _receiver) = mpsc::channel(4096);
    let engine = Memory::new(Window::default(), tail);
    let mut random = Random(1);
    for at in 0..200 {
        write(&engine, &mut random, at).await;
    }
    let todo = Resource::parse("todo").unwrap();
    let head = engine.find_one(&todo, &Id::Integer(1)).await.unwrap().position;
    let seen = ClientPosition { position: Position { offset: 0, ..head }, ahead: Vec::new() };
    let entry = |n: u64| {
        let filter = Filter::read(json!({ "n": 100 + n })).unwrap();
        let room = Room::scoped(todo.clone(), Scope::Whole(filter)).unwrap();
        Entry { name: room.to_string(), seen: seen.clone(), joined: Some(Arc::new(joined(room))) }
    };
    let entries: Vec<_> = (0..10).map(entry).collect();
    let (logs, models) = (shared_logs(), Models::default());
    let changes = &logs.memory(None);
    let source = Source { engine: &engine, logs: &logs, models: &models, memory: changes };
    // The texts take some more work than the changes alone.
    let range = logs.read(&engine, &todo, seen.position, changes).await.unwrap().unwrap();
    let work = range.size_from(0).work;
    assert!(work > head.offset, "{work}");
    let memory = unlimited();
    let mut budget = Budget::new(NO_LIMIT, 3 * work as usize, &memory);
    let answers = source.answers(&entries, &mut budget, || true).await;
    let is_known =
        |answer: &RawValue| serde_json::from_str::<Vec<Value>>(answer.get()).unwrap().len() == 4;
    let known: Vec<_> = answers.iter().map(|it| is_known(it)).collect();
    assert_eq!(known[..4], [true, true, true, false]);
    assert!(budget.is_exhausted());
    assert!(source.answers(&entries, &mut budget, || false).await.is_empty());
}

#[tokio::test]
async fn changes_that_many_clients_hold_fit_in_the_budget() {
    const SIZE: usize = 50_000;
    const BUDGET: usize = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    let (tail, _receiver) = mpsc::channel(4096);
    let engine = Sqlite::open(folder.path().join("backwire.db"), Window::default(), tail).unwrap();
    let todo = Resource::parse("todo").unwrap();
    for version in 0..5 {
        for id in 1..=10 {
            let set = json!({ "n": version, "text": "x".repeat(SIZE) });
            let set = set.as_object().unwrap().clone();
            commit(&engine, todo.clone(), Action::Upsert(Id::Integer(id), set), version).await;
        }
    }
    let head = engine.head(&todo).await.unwrap();
    let seen = ClientPosition { position: Position { offset: 0, ..head }, ahead: Vec::new() };
    let mut limits = Limits::default();
    (limits.resume_bytes, limits.total_resume_bytes) = (4 << 20, BUDGET);
    let logs = SharedLogs::new(Environment::tokio(), &limits);
    let entry = |room: Room| Entry {
        name: room.to_string(),
        seen: seen.clone(),
        joined: Some(Arc::new(joined(room))),
    };
    // Each record is read separately, and all records together are read once.
    let mut rooms: Vec<_> =
        (1..=10).map(|id| entry(Room::instance(todo.clone(), Id::Integer(id)))).collect();
    rooms.push(entry(Room::class(todo.clone())));
    let (mut held, mut refused) = (Vec::new(), 0);
    for number in 0..40_u8 {
        let memory = logs.memory(Some([10, 0, 0, number % 8].into()));
        let rooms = if number % 2 == 0 { &rooms[..10] } else { &rooms[10..] };
        let entries: Vec<_> =
            rooms.iter().map(|it| (it.joined.as_ref().unwrap().room.id(), it)).collect();
        let log = Log::read(&engine, (&logs, &memory), &todo, &entries).await.unwrap();
        refused += usize::from(memory.refused().is_some());
        held.push(log);
    }
    let bytes = held.iter().map(Log::text_bytes).sum::<usize>();
    assert!(bytes > 10 * SIZE && bytes <= BUDGET, "{bytes}");
    assert!(logs.budget().claimed() <= BUDGET && refused > 20, "{refused}");
    drop(held);
    assert_eq!(logs.budget().claimed(), 0);
}

#[tokio::test]
async fn clients_that_come_back_one_after_the_other_share_small_ranges() {
    let (tail, _receiver) = mpsc::channel(4096);
    let engine = Memory::new(Window::default(), tail);
    let (logs, todo) = (shared_logs(), Resource::parse("todo").unwrap());
    let write = async |count: u64, size: usize| {
        for at in 0..count {
            let set = json!({ "at": rand::random::<u32>(), "text": "x".repeat(size) })
                .as_object()
                .unwrap()
                .clone();
            commit(&engine, todo.clone(), Action::Upsert(Id::Integer(at as i64), set), at).await;
        }
    };
    let read = async |offset: u64| {
        let head = engine.head(&todo).await.unwrap();
        let from = Position { offset, ..head };
        let memory = logs.memory(None);
        let range = logs.read(&engine, &todo, from, &memory).await.unwrap().unwrap();
        assert_eq!(range.changes[range.start(offset)..].len() as u64, head.offset - offset);
        drop(range);
        (logs.counts().changes_read(), logs.budget().claimed())
    };
    write(10, 100).await;
    assert_eq!(read(4).await, (6, 0));
    // This client has missed more. The changes are read from its position on.
    assert_eq!(read(0).await, (16, 0));
    for offset in 0..10 {
        assert_eq!(read(offset).await, (16, 0));
    }
    write(2, 100).await;
    assert_eq!(read(3).await, (18, 0));
    assert_eq!(read(12).await, (18, 0));
    // A client that has missed none of these changes does not read what came before.
    write(3, 100).await;
    assert_eq!(read(14).await, (19, 0));
    // Large ranges are read again.
    write(2, 200_000).await;
    assert_eq!(read(15).await, (21, 0));
    assert_eq!(read(15).await, (23, 0));
}
