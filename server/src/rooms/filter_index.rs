//! An index of the followed filters of a resource, by the values that they require.
//!
//! Each change is compared with the filters that it may concern, and not with all followed filters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use backwire_environment::{HashMap, HashSet};
use backwire_records::change::{Attributes, Change, NamedScope, Room};
use backwire_records::criteria::{Scope, keys_of_filter, keys_of_record};

/// A filter that at least one connection follows.
#[derive(Debug)]
pub(crate) struct FollowedFilter {
    pub(crate) room: Room,
    scope: Arc<NamedScope>,
    /// The offset of the last change that was sent to its room.
    pub(crate) last_offset: AtomicU64,
    /// How many times the filter searches a text for a pattern.
    pub(crate) searches: usize,
    /// Whether it can be found by the values that it requires.
    pub(super) is_indexed: bool,
    /// Its number in the index. An address would identify it as well, but the order of pushes would
    /// depend on it.
    number: u64,
}

impl FollowedFilter {
    /// Returns the filter of a room, if it has one.
    pub(crate) fn of(room: &Room) -> Option<Self> {
        let Room::Scoped(_, scope) = room else { return None };
        let filter = scope.scope().filter();
        Some(Self {
            room: room.clone(),
            scope: Arc::clone(scope),
            last_offset: AtomicU64::default(),
            searches: filter.searches(),
            is_indexed: !keys_of_filter(filter).is_empty(),
            number: 0,
        })
    }

    /// Returns what its room follows.
    pub(crate) fn scope(&self) -> &Scope {
        self.scope.scope()
    }
}

/// A filter, and the keys under which it is found.
#[derive(Debug)]
struct IndexedFilter {
    filter: Arc<FollowedFilter>,
    keys: Option<HashSet<u64>>,
}

/// The filters of one resource.
#[derive(Debug, Default)]
pub(super) struct FilterIndex {
    all: HashMap<Room, IndexedFilter>,
    by_key: HashMap<u64, Vec<Arc<FollowedFilter>>>,
    /// Filters that have to be compared with each change.
    unindexed: HashMap<Room, Arc<FollowedFilter>>,
    last_number: u64,
}

/// The keys of the record before a change and after it.
pub(super) struct Keys(HashSet<u64>);

impl Keys {
    pub(super) fn of(change: &Change) -> Self {
        let records = [&change.before, &change.after].into_iter().flatten();
        Self(records.flat_map(|record: &Arc<Attributes>| keys_of_record(record)).collect())
    }
}

/// The filters that changes are compared with.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// Filters, each with the indexes of the changes that may concern it.
    pub(crate) indexed: Vec<(Arc<FollowedFilter>, Vec<usize>)>,
    /// Filters that any of the changes may concern.
    pub(crate) unindexed: Vec<Arc<FollowedFilter>>,
}

impl FilterIndex {
    pub(super) fn insert(&mut self, filter: FollowedFilter) {
        let keys = self.choose_keys(&filter);
        self.last_number += 1;
        let filter = Arc::new(FollowedFilter { number: self.last_number, ..filter });
        for key in keys.iter().flatten() {
            self.by_key.entry(*key).or_default().push(Arc::clone(&filter));
        }
        if keys.is_none() {
            self.unindexed.insert(filter.room.clone(), Arc::clone(&filter));
        }
        self.all.insert(filter.room.clone(), IndexedFilter { filter, keys });
    }

    /// Returns the keys of the part of a filter whose values the fewest other filters require.
    fn choose_keys(&self, filter: &FollowedFilter) -> Option<HashSet<u64>> {
        let others = |key: &u64| 1 + self.by_key.get(key).map_or(0, Vec::len);
        let sets = keys_of_filter(filter.scope().filter()).into_iter();
        let sets = sets.map(|keys| keys.into_iter().collect::<HashSet<_>>());
        sets.min_by_key(|keys| keys.iter().map(others).sum::<usize>())
    }

    pub(super) fn remove(&mut self, room: &Room) {
        let Some(IndexedFilter { filter, keys }) = self.all.remove(room) else { return };
        self.unindexed.remove(room);
        for key in keys.into_iter().flatten() {
            let Some(filters) = self.by_key.get_mut(&key) else { continue };
            filters.retain(|it| it.number != filter.number);
            if filters.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }

    pub(super) fn contains(&self, room: &Room) -> bool {
        self.all.contains_key(room)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns the number of filters, and how many of them are compared with each change.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.all.len(), self.unindexed.len())
    }

    pub(super) fn all(&self) -> Vec<Arc<FollowedFilter>> {
        self.all.values().map(|indexed| Arc::clone(&indexed.filter)).collect()
    }

    /// Returns the filters that changes with these keys may concern.
    pub(super) fn candidates(&self, changes: &[Keys]) -> Candidates {
        // In the order of the numbers: that of the keys is another in each process.
        let mut indexed: BTreeMap<_, (Arc<FollowedFilter>, Vec<usize>)> = BTreeMap::new();
        for (index, Keys(keys)) in changes.iter().enumerate() {
            for filter in keys.iter().filter_map(|key| self.by_key.get(key)).flatten() {
                let new = || (Arc::clone(filter), Vec::new());
                let (_, of) = indexed.entry(filter.number).or_insert_with(new);
                if of.last() != Some(&index) {
                    of.push(index);
                }
            }
        }
        let unindexed = self.unindexed.values().cloned().collect();
        Candidates { indexed: indexed.into_values().collect(), unindexed }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use backwire_records::change::{Id, Position, Resource, Verb};
    use backwire_records::criteria::{Case, Filter};

    /// Pseudo-random numbers that depend only on a seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % end
        }

        fn value(&mut self) -> Value {
            let values = json!([null, 1, "1", 1.0, -0.0, 0, 1.5, true, "true", false, "", "A", "a", "null",
                9_007_199_254_740_993_u64, 9_007_199_254_740_992_u64, [1], { "a": 1 }]);
            values[self.below(18)].clone()
        }

        fn name(&mut self) -> String {
            ["a", "b", "c", "owner"][self.below(4)].to_owned()
        }

        fn record(&mut self) -> Option<Arc<Attributes>> {
            let count = self.below(5);
            (count > 0).then(|| Arc::new((0..count).map(|_| (self.name(), self.value())).collect()))
        }

        fn filter(&mut self, depth: usize) -> Value {
            let (name, value) = (self.name(), self.value());
            match self.below(if depth == 0 { 4 } else { 8 }) {
                0 => json!({ (name): scalar(value) }),
                1 => {
                    let [one, other] = [self.value(), self.value()];
                    json!({ (name): [scalar(one), scalar(other)] })
                }
                2 => json!({ (name): { ">": 1 } }),
                3 => json!({ (name): { "!": scalar(value) } }),
                4 => json!({ "or": [self.filter(depth - 1), self.filter(depth - 1)] }),
                5 => json!({ "and": [self.filter(depth - 1), self.filter(depth - 1)] }),
                6 => json!({ "not": self.filter(depth - 1) }),
                _ => json!({ (name): scalar(value), "z": { "contains": "x" }, "owner": 1 }),
            }
        }

        fn change(&mut self) -> Change {
            let todo = Resource::parse("todo").unwrap();
            Change {
                verb: Verb::Update,
                position: Position { epoch: 1, offset: 1 },
                before: self.record(),
                after: self.record(),
                ..Change::synthetic_destroy(&todo, &Id::Integer(1))
            }
        }
    }

    /// Filters compare only with scalars.
    fn scalar(value: Value) -> Value {
        if value.is_array() || value.is_object() { json!("x") } else { value }
    }

    fn room_of(filter: &Filter) -> Room {
        let todo = Resource::parse("todo").unwrap();
        Room::scoped(todo, Scope::Whole(filter.clone())).unwrap()
    }

    fn concerns(filter: &Filter, change: &Change) -> bool {
        let records = [&change.before, &change.after].into_iter().flatten();
        records.into_iter().any(|record| filter.matches(&**record, Case::Sensitive))
    }

    /// Returns the names of the filters that a change concerns.
    fn names_found(index: &FilterIndex, changes: &[Change], number: usize) -> HashSet<Room> {
        let keys: Vec<_> = changes.iter().map(Keys::of).collect();
        let Candidates { indexed, unindexed } = index.candidates(&keys);
        let indexed = indexed.into_iter().filter(|(_, changes)| changes.contains(&number));
        let all = indexed.map(|(filter, _)| filter).chain(unindexed);
        let all = all.filter(|it| concerns(it.scope().filter(), &changes[number]));
        all.map(|filter| filter.room.clone()).collect()
    }

    #[test]
    fn index_finds_exactly_the_filters_that_a_change_concerns() {
        for _ in 0..10 {
            let seed = rand::random::<u64>();
            let mut random = Random(seed);
            let (mut index, mut filters) = (FilterIndex::default(), HashMap::default());
            for step in 0..300 {
                if let Ok(filter) = Filter::read(random.filter(2))
                    && filter != Filter::default()
                {
                    let room = room_of(&filter);
                    if !index.contains(&room) {
                        index.insert(FollowedFilter::of(&room).unwrap());
                    }
                    filters.insert(room, filter);
                }
                if step % 3 == 0
                    && let Some(room) = filters.keys().next().cloned()
                {
                    filters.remove(&room);
                    index.remove(&room);
                }
            }
            let changes: Vec<_> = (0..40).map(|_| random.change()).collect();
            for (number, change) in changes.iter().enumerate() {
                let all = filters.iter().filter(|(_, filter)| concerns(filter, change));
                let expected: HashSet<_> = all.map(|(room, _)| room.clone()).collect();
                assert_eq!(
                    names_found(&index, &changes, number),
                    expected,
                    "seed {seed}, {change:?}"
                );
            }
            filters.keys().for_each(|room| index.remove(room));
            assert!(index.is_empty() && index.by_key.is_empty() && index.unindexed.is_empty());
        }
    }

    #[test]
    fn change_is_compared_with_few_of_many_filters() {
        let mut index = FilterIndex::default();
        for owner in 0..10_000 {
            let filter = Filter::read(json!({ "type": "task", "owner": owner })).unwrap();
            index.insert(FollowedFilter::of(&room_of(&filter)).unwrap());
        }
        let record = json!({ "type": "task", "owner": 4711 }).as_object().unwrap().clone();
        let todo = Resource::parse("todo").unwrap();
        let change = Change {
            after: Some(Arc::new(record)),
            ..Change::synthetic_destroy(&todo, &Id::Integer(1))
        };
        let Candidates { indexed, unindexed } = index.candidates(&[Keys::of(&change)]);
        assert!(indexed.len() <= 2 && unindexed.is_empty(), "{}", indexed.len());
    }
}
