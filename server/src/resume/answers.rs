//! What is answered for each room of a resume.

use std::collections::HashMap;
use std::sync::Arc;

use backwire_engine::Engine;
use backwire_records::change::{Id, Position, Resource};
use backwire_records::criteria::{Collection, Scope};
use backwire_records::model::Models;
use serde_json::value::RawValue;
use tokio::task::yield_now;

use super::log::{Log, Range};
use super::{Joined, SharedLogs};
use crate::answer_claim::AnswerClaim;
use crate::dialect::runtime;
use crate::incoming::Seen;
use crate::shared::Shared;

/// Changes that a filter looks at before others may run.
const CHUNK: usize = 256;

/// Work for which others are given way to in between.
const PAUSE: u64 = 20_000;

/// Work that is done by one resume at a time.
const MUCH_WORK: u64 = 200_000;

/// A room, and what its client has received of it.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) seen: Seen,
    /// `None` if the client may not join it.
    pub(super) joined: Option<Arc<Joined>>,
}

impl Entry {
    /// The positions that have to be in the log. It is not the one that the client knows if that had what the client
    /// has received beyond its position.
    pub(super) fn positions(&self) -> impl Iterator<Item = Position> {
        let Seen { position, highest } = self.seen;
        let beyond = Position { offset: highest, ..position };
        [Some(position), (highest > position.offset).then_some(beyond)].into_iter().flatten()
    }
}

/// What one resume may need.
pub(super) struct Budget<'a> {
    /// Memory for what is told.
    memory: &'a AnswerClaim,
    /// Bytes after which nothing more is told.
    enough: u64,
    told: u64,
    /// Work that filters may make: one for each condition that looks at a change, and more for much text.
    work: u64,
    is_exhausted: bool,
    since_pause: u64,
}

impl<'a> Budget<'a> {
    pub(super) fn new(enough: usize, work: usize, memory: &'a AnswerClaim) -> Self {
        let (enough, work) = (enough as u64, work as u64);
        Self { memory, enough, told: 0, work, is_exhausted: false, since_pause: 0 }
    }

    /// Whether some rooms were answered with *resync* because the others had made so much work.
    pub(super) fn is_exhausted(&self) -> bool {
        self.is_exhausted
    }

    /// Whether there is memory for so much more.
    fn claim(&self, bytes: u64) -> bool {
        self.memory.try_add(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    fn spend(&mut self, work: u64) -> bool {
        let is_enough = work <= self.work;
        self.is_exhausted |= !is_enough;
        self.work -= if is_enough { work } else { 0 };
        is_enough
    }

    /// Lets others run after a while.
    async fn pause(&mut self, work: u64) {
        self.since_pause += work;
        if self.since_pause > PAUSE {
            self.since_pause = 0;
            yield_now().await;
        }
    }
}

/// Where logs are read.
pub(super) struct Source<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) logs: &'a SharedLogs,
    pub(super) models: &'a Models,
}

/// Answers each entry, in their order, unless the client leaves.
pub(super) async fn answers(
    shared: &Shared,
    entries: &[Entry],
    budget: &mut Budget<'_>,
    is_connected: impl Fn() -> bool,
) -> Vec<Box<RawValue>> {
    let Shared { engine, shared_logs: logs, models, .. } = shared;
    let source = Source { engine: &**engine, logs, models };
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
        let mut answered: HashMap<(&str, Position, u64), usize> = HashMap::new();
        for entry in entries {
            if !is_connected() {
                break;
            }
            let asked = (entry.name.as_str(), entry.seen.position, entry.seen.highest);
            if let Some(index) = answered.get(&asked).filter(|_| budget.told < budget.enough) {
                let size = answers[*index].get().len() as u64;
                let same = match budget.claim(size) {
                    true => answers[*index].clone(),
                    false => runtime::resync(&entry.name),
                };
                budget.told += same.get().len() as u64;
                answers.push(same);
                continue;
            }
            let known = entry.joined.as_deref().and_then(|joined| {
                let id = record_of(joined);
                let (range, start) = logs.get(&joined.room.resource)?.since(id, entry)?;
                let of = joined.scope.as_ref().and_then(Scope::collection);
                let is_still = of.is_none_or(|of| collections.get(&key(of)).is_some_and(|it| *it));
                is_still.then_some((joined, range, start))
            });
            let answer = match known.filter(|_| budget.told < budget.enough) {
                Some((joined, range, start)) => {
                    if turn.is_none() && work(joined, range, start) > MUCH_WORK {
                        turn = self.logs.turn().await;
                    }
                    missed(entry, joined, (range, start), budget).await
                }
                None => None,
            };
            let answer = answer.unwrap_or_else(|| runtime::resync(&entry.name));
            budget.told += answer.get().len() as u64;
            budget.pause(100).await;
            answered.insert(asked, answers.len());
            answers.push(answer);
        }
        answers
    }

    /// What the entries need, by resource.
    async fn read_logs(&self, entries: &[Entry]) -> HashMap<Resource, Log> {
        let mut of_each: HashMap<&Resource, Vec<(Option<&Id>, &Entry)>> = HashMap::new();
        for entry in entries {
            if let Some(joined) = &entry.joined {
                of_each.entry(&joined.room.resource).or_default().push((record_of(joined), entry));
            }
        }
        let mut logs = HashMap::new();
        for (resource, entries) in of_each {
            match Log::read(self.engine, self.logs, resource, &entries).await {
                Ok(log) => drop(logs.insert(resource.clone(), log)),
                Err(error) => tracing::error!(%error, "cannot tell what was missed"),
            }
        }
        logs
    }
}

/// The one record that a room is about.
fn record_of(joined: &Joined) -> Option<&Id> {
    joined.room.id.as_ref()
}

/// The work of the filter of a room.
fn work(joined: &Joined, range: &Range, start: usize) -> u64 {
    let conditions = joined.scope.as_ref().map_or(0, |scope| scope.filter().size() as u64);
    range.size_from(start).work.saturating_mul(conditions)
}

/// The answer for a room, or `None` if that is too much.
async fn missed(
    Entry { name, .. }: &Entry,
    joined: &Joined,
    (range, start): (&Range, usize),
    budget: &mut Budget<'_>,
) -> Option<Box<RawValue>> {
    let (changes, size) = (&range.changes[start..], range.size_from(start));
    let Some(scope) = &joined.scope else {
        let is_little = size.bytes <= budget.enough && budget.claim(size.bytes);
        return is_little.then(|| runtime::missed(name, range.head, changes));
    };
    let work = work(joined, range, start);
    if !budget.spend(work) {
        return None;
    }
    let followed = runtime::Followed { scope, is_hiding: joined.is_hiding };
    let mut entries = Vec::new();
    for chunk in changes.chunks(CHUNK) {
        entries.extend(runtime::filtered(followed, chunk));
        budget.pause(work / changes.len().div_ceil(CHUNK) as u64).await;
    }
    let bytes = |(offset, ..): &runtime::Entry<'_>| range.size_of(*offset).bytes;
    let bytes = entries.iter().map(bytes).sum();
    let is_little = bytes <= budget.enough && budget.claim(bytes);
    is_little.then(|| runtime::scoped_missed(name, scope, range.head, &entries))
}

/// A collection, as something to look it up by.
type Key = ((String, Id, String), (u64, u64));

fn key(of: &Collection) -> Key {
    (of.of.clone(), of.at)
}

impl Source<'_> {
    /// Which collections have the members that they had.
    async fn read_collections(&self, entries: &[Entry]) -> HashMap<Key, bool> {
        let mut of_each: HashMap<Resource, HashMap<Key, Entry>> = HashMap::new();
        let collections =
            entries.iter().filter_map(|entry| entry.joined.as_ref()?.scope.as_ref()?.collection());
        for of in collections {
            if let Some(join) = self.models.associations().join_of(of) {
                let seen = Seen { position: of.position(), highest: 0 };
                let entry = Entry { name: String::new(), seen, joined: None };
                of_each.entry(join).or_default().insert(key(of), entry);
            }
        }
        let mut are_still = HashMap::new();
        for (join, wanted) in of_each {
            let entries: Vec<_> = wanted.values().map(|entry| (None, entry)).collect();
            let Ok(log) = Log::read(self.engine, self.logs, &join, &entries).await else {
                continue;
            };
            let changed = self.last_changes(log.all());
            for (key, entry) in &wanted {
                let last = changed.get(&key.0).copied().unwrap_or(0);
                let is_still = log.since(None, entry).is_some() && last <= key.1.1;
                are_still.insert(key.clone(), is_still);
            }
        }
        are_still
    }

    /// The offset of the last change of each collection.
    fn last_changes(&self, range: Option<&Range>) -> HashMap<(String, Id, String), u64> {
        let associations = self.models.associations();
        let changes = range.into_iter().flat_map(|range| &range.changes);
        let each = changes.flat_map(|change| {
            let memberships = associations.memberships(change).into_iter();
            memberships.map(|it| (it.collection(), change.position.offset))
        });
        each.collect()
    }
}
