//! Builds the answer for each room of a resume.

use backwire_engine::Engine;
use backwire_environment::HashMap;
use backwire_records::change::{Id, Position, Resource};
use backwire_records::criteria::{Collection, CollectionKey, Scope};
use backwire_records::model::Models;
use serde_json::value::RawValue;
use tokio::task::{consume_budget, yield_now};

use super::entry::{Entry, JoinedRoom};
use super::log::Log;
use super::log_memory::LogMemory;
use super::range::Range;
use super::shared_logs::SharedLogs;
use crate::answer_claim::AnswerClaim;
use crate::dialect::runtime;
use crate::incoming::ClientPosition;
use crate::shared::Shared;

/// The number of changes that a filter checks before other tasks may run.
const CHUNK: usize = 256;

/// The work after which the task yields to others.
const WORK_BEFORE_YIELD: u64 = 20_000;

/// A filter with more work than this takes a turn: only one resume at a time has it.
const MAX_CONCURRENT_WORK: u64 = 200_000;

/// The limits of one resume.
pub(super) struct Budget<'a> {
    /// The memory for the answers.
    memory: &'a AnswerClaim,
    /// The number of bytes after which all further rooms are *resync*.
    max_bytes: u64,
    used_bytes: u64,
    /// The work that filters may still do: one unit for each condition that checks a change, and
    /// more for long texts.
    work: u64,
    is_exhausted: bool,
    since_pause: u64,
}

impl<'a> Budget<'a> {
    pub(super) fn new(max_bytes: usize, work: usize, memory: &'a AnswerClaim) -> Self {
        let (max_bytes, work) = (max_bytes as u64, work as u64);
        Self { memory, max_bytes, used_bytes: 0, work, is_exhausted: false, since_pause: 0 }
    }

    /// Whether some rooms were answered with *resync* because the others took too much work.
    pub(super) fn is_exhausted(&self) -> bool {
        self.is_exhausted
    }

    /// Claims memory, if there is enough.
    fn claim(&self, bytes: u64) -> bool {
        self.memory.try_add(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    fn spend(&mut self, work: u64) -> bool {
        let is_enough = work <= self.work;
        self.is_exhausted |= !is_enough;
        self.work -= if is_enough { work } else { 0 };
        is_enough
    }

    /// Lets other tasks run after some work.
    async fn pause(&mut self, work: u64) {
        self.since_pause += work;
        if self.since_pause > WORK_BEFORE_YIELD {
            self.since_pause = 0;
            yield_now().await;
        }
    }
}

/// The sources of an answer.
pub(super) struct Source<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) logs: &'a SharedLogs,
    pub(super) models: &'a Models,
    /// The memory for the changes of the logs.
    pub(super) memory: &'a LogMemory,
}

/// Answers the entries in their order, until the client leaves.
pub(super) async fn answers(
    shared: &Shared,
    entries: &[Entry],
    (budget, memory): (&mut Budget<'_>, &LogMemory),
    is_connected: impl Fn() -> bool,
) -> Vec<Box<RawValue>> {
    let Shared { engine, shared_logs: logs, models, .. } = shared;
    let source = Source { engine: &**engine, logs, models, memory };
    // The resume holds no changes while it waits.
    let _slot = logs.slot(memory.client()).await;
    source.answers(entries, budget, is_connected).await
}

impl Source<'_> {
    pub(super) async fn answers(
        &self,
        entries: &[Entry],
        budget: &mut Budget<'_>,
        is_connected: impl Fn() -> bool,
    ) -> Vec<Box<RawValue>> {
        let logs = self.read_logs(entries).await;
        let collections = self.read_collections(entries).await;
        let mut turn = None;
        let mut answers: Vec<Box<RawValue>> = Vec::with_capacity(entries.len());
        let mut answered: HashMap<(&str, Position, &[Position]), usize> = HashMap::default();
        for entry in entries {
            if !is_connected() {
                break;
            }
            let ClientPosition { position, ahead } = &entry.seen;
            let question = (entry.name.as_str(), *position, ahead.as_slice());
            if let Some(index) =
                answered.get(&question).filter(|_| budget.used_bytes < budget.max_bytes)
            {
                let size = answers[*index].get().len() as u64;
                let same = match budget.claim(size) {
                    true => answers[*index].clone(),
                    false => runtime::resync(&entry.name),
                };
                budget.used_bytes += same.get().len() as u64;
                answers.push(same);
                continue;
            }
            let known = entry.joined.as_deref().and_then(|joined| {
                let id = record_of(joined);
                let (range, start) = logs.get(joined.room.resource())?.since(id, entry)?;
                let of = joined.room.scope().and_then(Scope::collection);
                let is_unchanged =
                    of.is_none_or(|of| collections.get(&key(of)).is_some_and(|it| *it));
                is_unchanged.then_some((joined, range, start))
            });
            let answer = match known.filter(|_| budget.used_bytes < budget.max_bytes) {
                Some((joined, range, start)) => {
                    if turn.is_none() && work(joined, range, start) > MAX_CONCURRENT_WORK {
                        turn = self.logs.turn(self.memory.client()).await;
                    }
                    answer_for(entry, joined, (range, start), budget).await
                }
                None => None,
            };
            let answer = answer.unwrap_or_else(|| runtime::resync(&entry.name));
            budget.used_bytes += answer.get().len() as u64;
            budget.pause(100).await;
            answered.insert(question, answers.len());
            answers.push(answer);
        }
        answers
    }

    /// Returns the logs that the entries need, by resource.
    async fn read_logs(&self, entries: &[Entry]) -> HashMap<Resource, Log> {
        let mut of_each: HashMap<&Resource, Vec<(Option<&Id>, &Entry)>> = HashMap::default();
        // The logs are read in the order in which they are named, as long as there is memory.
        let mut resources = Vec::new();
        for entry in entries {
            if let Some(joined) = &entry.joined {
                let resource = joined.room.resource();
                let of_resource = of_each.entry(resource).or_insert_with(|| {
                    resources.push(resource);
                    Vec::new()
                });
                of_resource.push((record_of(joined), entry));
            }
        }
        let mut logs = HashMap::default();
        for resource in resources {
            match Log::read(self.engine, self.log_source(), resource, &of_each[resource]).await {
                Ok(log) => drop(logs.insert(resource.clone(), log)),
                Err(error) => tracing::error!(%error, "cannot read the log for a resume"),
            }
            consume_budget().await;
        }
        logs
    }

    fn log_source(&self) -> (&SharedLogs, &LogMemory) {
        (self.logs, self.memory)
    }
}

/// Returns the id of the one record of a room.
fn record_of(joined: &JoinedRoom) -> Option<&Id> {
    joined.room.id()
}

/// Returns the work of the filter of a room.
fn work(joined: &JoinedRoom, range: &Range, start: usize) -> u64 {
    let conditions = joined.room.scope().map_or(0, |scope| scope.filter().size() as u64);
    range.size_from(start).work.saturating_mul(conditions)
}

/// Returns the answer for a room, or `None` if it would be too large or too much work.
async fn answer_for(
    Entry { name, .. }: &Entry,
    joined: &JoinedRoom,
    (range, start): (&Range, usize),
    budget: &mut Budget<'_>,
) -> Option<Box<RawValue>> {
    let (changes, size) = (&range.changes[start..], range.size_from(start));
    let Some(scope) = joined.room.scope() else {
        let fits = size.bytes <= budget.max_bytes && budget.claim(size.bytes);
        return fits.then(|| runtime::missed_changes(name, range.head, changes));
    };
    let work = work(joined, range, start);
    if !budget.spend(work) {
        return None;
    }
    let followed = runtime::FollowedScope { scope, is_hiding: joined.is_hiding };
    let mut entries = Vec::new();
    for chunk in changes.chunks(CHUNK) {
        entries.extend(runtime::filter_changes(followed, chunk));
        budget.pause(work / changes.len().div_ceil(CHUNK) as u64).await;
    }
    let bytes = |entry: &runtime::Entry<'_>| range.size_of(entry.offset).bytes;
    let bytes = entries.iter().map(bytes).sum();
    let fits = bytes <= budget.max_bytes && budget.claim(bytes);
    fits.then(|| runtime::missed_scope_changes(name, scope, range.head, &entries))
}

/// The key of a collection in a map.
type Key = (CollectionKey, (u64, u64));

fn key(of: &Collection) -> Key {
    (of.of.clone(), of.at)
}

impl Source<'_> {
    /// Returns which collections still have the same members.
    async fn read_collections(&self, entries: &[Entry]) -> HashMap<Key, bool> {
        let mut of_each: HashMap<Resource, HashMap<Key, Entry>> = HashMap::default();
        let collections =
            entries.iter().filter_map(|entry| entry.joined.as_ref()?.room.scope()?.collection());
        for of in collections {
            if let Some(join) = self.models.associations().join_of(of) {
                let seen = ClientPosition { position: of.position(), ahead: Vec::new() };
                let entry = Entry { name: String::new(), seen, joined: None };
                of_each.entry(join).or_default().insert(key(of), entry);
            }
        }
        let mut unchanged = HashMap::default();
        for (join, wanted) in of_each {
            let entries: Vec<_> = wanted.values().map(|entry| (None, entry)).collect();
            let Ok(log) = Log::read(self.engine, self.log_source(), &join, &entries).await else {
                continue;
            };
            let changed = self.last_changes(log.all());
            for (key, entry) in &wanted {
                let last = changed.get(&key.0).copied().unwrap_or(0);
                let is_unchanged = log.since(None, entry).is_some() && last <= key.1.1;
                unchanged.insert(key.clone(), is_unchanged);
            }
        }
        unchanged
    }

    /// Returns the offset of the last change of each collection.
    fn last_changes(&self, range: Option<&Range>) -> HashMap<CollectionKey, u64> {
        let associations = self.models.associations();
        let changes = range.into_iter().flat_map(|range| &range.changes);
        let each = changes.flat_map(|change| {
            let memberships = associations.memberships(change).into_iter();
            memberships.map(|it| (it.collection(), change.position.offset))
        });
        each.collect()
    }
}
