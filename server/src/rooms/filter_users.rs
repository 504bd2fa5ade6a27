//! Counts the different filters that each client follows.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;

use backwire_environment::{HashKey, HashMap};
use backwire_records::change::Id;

use crate::settings::Limit;

/// The weight of a filter that is compared with each change: it counts as this many others.
const UNINDEXED_WEIGHT: usize = 4;

/// The user that a connection belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum User {
    Address(IpAddr),
    Person(Id),
}

/// The filters of each user.
#[derive(Debug, Default)]
pub(super) struct FilterUsers {
    users: HashMap<User, Filters>,
    hasher: HashKey,
}

#[derive(Debug, Default)]
struct Filters {
    /// The number of connections that follow each filter, and the weight of the filter, by the hash
    /// of its room.
    connections: HashMap<u64, (usize, usize)>,
    count: usize,
}

impl FilterUsers {
    /// Checks whether all of these users may follow a filter.
    pub(super) fn check(
        &self,
        key: impl Hash,
        users: &[User],
        is_indexed: bool,
        limit: usize,
    ) -> Result<(), Limit> {
        let filter = self.hasher.hash_one(key);
        let has_room = |user: &User| {
            self.users.get(user).is_none_or(|filters| {
                filters.connections.contains_key(&filter)
                    || filters.count + weight(is_indexed) <= limit
            })
        };
        users.iter().all(has_room).then_some(()).ok_or(Limit::FiltersPerClient)
    }

    pub(super) fn add(&mut self, key: impl Hash, users: &[User], is_indexed: bool) {
        let filter = self.hasher.hash_one(key);
        for user in users {
            let filters = self.users.entry(user.clone()).or_default();
            let (count, weight) =
                filters.connections.entry(filter).or_insert((0, weight(is_indexed)));
            *count += 1;
            filters.count += if *count == 1 { *weight } else { 0 };
        }
    }

    pub(super) fn remove(&mut self, key: impl Hash, users: &[User]) {
        let filter = self.hasher.hash_one(key);
        for user in users {
            let Some(filters) = self.users.get_mut(user) else { continue };
            let Some((count, weight)) = filters.connections.get_mut(&filter) else { continue };
            *count -= 1;
            if *count == 0 {
                filters.count -= *weight;
                filters.connections.remove(&filter);
            }
            if filters.connections.is_empty() {
                self.users.remove(user);
            }
        }
    }
}

fn weight(is_indexed: bool) -> usize {
    if is_indexed { 1 } else { UNINDEXED_WEIGHT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_counts_once_for_each_user_however_many_connections_follow_it() {
        let mut all = FilterUsers::default();
        let user = [User::Person(Id::Integer(7))];
        for filter in ["a", "a", "b"] {
            assert_eq!(all.check(filter, &user, true, 2), Ok(()));
            all.add(filter, &user, true);
        }
        assert_eq!(all.check("a", &user, true, 2), Ok(()));
        assert_eq!(all.check("c", &user, true, 2), Err(Limit::FiltersPerClient));
        assert_eq!(all.check("c", &[User::Person(Id::Integer(8))], true, 2), Ok(()));
        all.remove("a", &user);
        assert_eq!(all.check("c", &user, true, 2), Err(Limit::FiltersPerClient));
        all.remove("a", &user);
        assert_eq!(all.check("c", &user, true, 2), Ok(()));
        assert_eq!(all.check("c", &user, false, 4), Err(Limit::FiltersPerClient));
        all.remove("b", &user);
        assert!(all.users.is_empty());
    }
}
