//! The members of the records that requests are creating, as the pushes for clients of Sails show
//! them.
//!
//! A request may create a record with members of its collections. Each member is a write of its
//! own, after the record. In Sails the push of the new record has the members, and no push tells
//! that they enter its collections.
//!
//! Other servers that share the store do not know them. They send a push for each member.

use std::collections::{BTreeSet, VecDeque};

use backwire_records::change::{Change, Id};
use backwire_records::model::Membership;
use parking_lot::Mutex;

/// The maximum number of requests whose members are kept until the record is created.
const MAX_REQUESTS: usize = 256;

/// The maximum number of members that are kept until they have been added.
const MAX_MEMBERS: usize = 10_000;

/// The collections of a record, by attribute, with the ids of their members.
pub(crate) type Collections = Vec<(String, BTreeSet<Id>)>;

/// The members. The oldest of many are dropped, and then have pushes of their own.
#[derive(Debug, Default)]
pub(crate) struct NewMembers {
    /// By the mark of the key of the write that creates the record.
    requested: Mutex<VecDeque<(u64, Collections)>>,
    shown: Mutex<VecDeque<Membership>>,
}

impl NewMembers {
    /// Adds the members of a record before it is created.
    pub(crate) fn request(&self, mark: u64, collections: Collections) {
        let mut requested = self.requested.lock();
        if requested.len() >= MAX_REQUESTS {
            requested.pop_front();
        }
        requested.push_back((mark, collections));
    }

    /// Takes the members of a record that has been created, or whose creation was refused.
    pub(crate) fn take(&self, mark: u64) -> Option<Collections> {
        let mut requested = self.requested.lock();
        let at = requested.iter().position(|(other, _)| *other == mark)?;
        requested.remove(at).map(|(_, collections)| collections)
    }

    /// Records that the push of a new record shows these members of one of its collections.
    pub(crate) fn show(&self, record: &Change, attribute: &str, members: BTreeSet<Id>) {
        let mut shown = self.shown.lock();
        shown.extend(members.into_iter().map(|member| Membership {
            resource: record.resource.clone(),
            id: record.id.clone(),
            attribute: attribute.to_owned(),
            member,
            is_new: true,
        }));
        let surplus = shown.len().saturating_sub(MAX_MEMBERS);
        shown.drain(..surplus);
    }

    /// Whether the push of the new record has shown a member that is now added.
    pub(crate) fn was_shown(&self, membership: &Membership) -> bool {
        let mut shown = self.shown.lock();
        let at = shown.iter().position(|it| it == membership);
        at.and_then(|at| shown.remove(at)).is_some()
    }
}
