//! The states of the writes in a group: which of them are read, and how.

use std::collections::VecDeque;

use backwire_environment::HashMap;
use backwire_records::change::Id;
use backwire_records::write::{Action, Write};

use super::cache::Cache;
use super::connection::{Commands, Connection};
use super::free_id::free_id;
use super::indexes;
use super::job::Job;
use super::known::Known;
use super::state::{self, State, StateQuery};
use crate::Error;
use crate::counters::MAX_COUNTED_ID;

/// States of writes, by their numbers, each with the first free id if that is needed.
pub(super) type States = HashMap<usize, (State, Option<i64>)>;

/// A reader of states.
pub(super) struct StateReader<'a> {
    pub(super) commands: &'a Commands,
    pub(super) connection: &'a Connection,
    pub(super) known: &'a Known,
    pub(super) cache: &'a Cache,
}

impl StateReader<'_> {
    /// Reads the states that are needed, by the numbers of the writes, each with the first free id
    /// if that is needed.
    pub(super) async fn read(&self, jobs: &VecDeque<Job>) -> Result<States, Error> {
        let (mut numbers, mut queries) = (Vec::new(), Vec::new());
        for (number, job) in jobs.iter().enumerate() {
            // An invalid id is refused when the write is decided.
            let id = job.write.id().unwrap_or_default();
            if job.reads || self.needs_state(&job.write, id.as_ref()) {
                numbers.push(number);
                queries.push(StateQuery::of(&job.write, id, job.reserves));
            }
        }
        let states = state::read(self.commands, self.connection, self.known, queries).await?;
        let mut read = HashMap::default();
        for (number, mut state) in numbers.into_iter().zip(states) {
            let write = &jobs[number].write;
            self.read_more(write, &mut state).await?;
            let mut free = None;
            if state.next > MAX_COUNTED_ID && matches!(write.id(), Ok(None)) {
                free = free_id(self.commands, &write.resource, state.next).await?;
                // The log may have an entry of the id, although no record has it.
                let query = StateQuery::of(write, free.map(Id::Integer), false);
                self.read_again(query, &mut state).await?;
            }
            read.insert(number, (state, free));
        }
        Ok(read)
    }

    /// Whether a write cannot be decided on the cache.
    fn needs_state(&self, write: &Write, id: Option<&Id>) -> bool {
        let known = self.known.of(&write.resource, self.connection.epoch);
        if known.indexes.is_none() || known.cascades.is_none() {
            return true;
        }
        match (&write.action, id) {
            (Action::Publish(_), _) => false,
            (Action::Create(_), None) => self.cache.next(&write.resource).is_none(),
            (Action::Create(_), Some(_)) => false,
            (_, Some(id)) => {
                !write.unique_values(None).is_empty()
                    || self.cache.record(&write.resource, id).is_none()
            }
            (_, None) => true,
        }
    }

    /// Reads the holders of the unique values that only the record tells.
    async fn read_more(&self, write: &Write, state: &mut State) -> Result<(), Error> {
        let record = state.record.as_ref().map(|stored| stored.parse()).transpose()?.flatten();
        let values = write.unique_values(record.as_deref());
        if values.iter().all(|(name, _)| state.values.iter().any(|held| held.attribute == *name)) {
            return Ok(());
        }
        for (attribute, _) in &values {
            indexes::ensure(self.commands, self.known, &write.resource, attribute).await?;
        }
        let query = StateQuery { values, ..StateQuery::of(write, write.id()?, false) };
        self.read_again(query, state).await
    }

    async fn read_again(&self, query: StateQuery, state: &mut State) -> Result<(), Error> {
        let states = state::read(self.commands, self.connection, self.known, vec![query]).await?;
        for later in states {
            let next = state.next;
            *state = State { next, ..later };
        }
        Ok(())
    }
}
