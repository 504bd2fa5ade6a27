//! Reads of lists.
//!
//! A list is read in parts, so that Redis serves others in between. Then the records that have
//! changed since the first part are read again, together with the head: what was read is now the
//! snapshot at that head.

use backwire_records::change::{Position, Resource};
use backwire_records::criteria::Criteria;

use super::connection::Commands;
use super::deadline::ReadClock;
use super::known::{Known, KnownResource};
use super::matches::Matches;
use super::part::{Part, Parts, Version};
use super::plan::{self, Plan};
use super::state;
use crate::{Error, ReadOptions, Record, Snapshot};

/// The maximum number of records in one part.
const MAX_RECORDS: usize = 500;

/// If an index leaves no more than this many candidates, all of them are read, instead of a scan in
/// the order of another index until there are enough.
const MAX_CANDIDATES: usize = 5000;

/// A read of a list.
pub(super) struct ListRead<'a> {
    parts: Parts<'a>,
    criteria: &'a Criteria,
    options: &'a ReadOptions,
    /// The maximum number of records that are read without an index.
    scan_limit: usize,
}

/// The state of a read. Everything read so far is the snapshot at this head.
struct ReadState {
    head: u64,
    version: Version,
    /// The number of records and of parts that were read.
    records: usize,
    parts: usize,
}

impl<'a> ListRead<'a> {
    pub(super) fn new(
        commands: &'a Commands,
        known: &'a Known,
        (resource, criteria): (&'a Resource, &'a Criteria),
        (options, clock): (&'a ReadOptions, ReadClock<'a>),
        scan_limit: usize,
    ) -> Self {
        let parts = Parts { commands, known, resource, clock };
        Self { parts, criteria, options, scan_limit }
    }

    /// Returns the records that the criteria pick.
    pub(super) async fn run(self) -> Result<Snapshot<Vec<Record>>, Error> {
        loop {
            self.parts.clock.check()?;
            if let Some(snapshot) = self.attempt().await? {
                return Ok(snapshot);
            }
        }
    }

    /// Reads the list; `None` if too much has changed in the meantime.
    async fn attempt(&self) -> Result<Option<Snapshot<Vec<Record>>>, Error> {
        let known = self.known().await?;
        let mut plan = self.plan(&known).await?;
        let mut matches = Matches::new(self.criteria, self.options);
        let size = self.part_size(&plan, 0);
        let first = self.parts.next(&mut plan, size).await?;
        let mut state =
            ReadState { head: first.head, version: first.version.clone(), records: 0, parts: 0 };
        self.add(&mut state, &mut matches, first, &plan)?;
        loop {
            while !matches.are_enough(&plan) {
                self.check(&state, &plan, &known)?;
                let size = self.part_size(&plan, state.records);
                let part = self.parts.next(&mut plan, size).await?;
                if !part.version.is_same(&state.version) {
                    return Ok(None);
                }
                self.add(&mut state, &mut matches, part, &plan)?;
            }
            if state.parts > 1 && !self.read_changes(&mut state, &mut matches, &plan).await? {
                return Ok(None);
            }
            // Records that were read may match no more.
            if matches.are_enough(&plan) {
                let value = matches.answer(&state.version.cascades.value)?;
                let position = Position { epoch: state.version.epoch.epoch, offset: state.head };
                return Ok(Some(Snapshot { value, position }));
            }
        }
    }

    fn add(
        &self,
        state: &mut ReadState,
        matches: &mut Matches<'a>,
        part: Part,
        plan: &Plan,
    ) -> Result<(), Error> {
        state.parts += 1;
        state.records += part.records.len();
        for (id, stored) in part.records {
            matches.add(id, Some(stored), plan, &state.version.cascades.value)?;
        }
        matches.check()
    }

    /// Reads what has changed since the head. Returns `false` if it is too much.
    async fn read_changes(
        &self,
        state: &mut ReadState,
        matches: &mut Matches<'a>,
        plan: &Plan,
    ) -> Result<bool, Error> {
        let Some(changed) = self.parts.changed(state.head, &state.version).await? else {
            return Ok(false);
        };
        for (id, stored) in changed.records {
            matches.add(id, stored, plan, &state.version.cascades.value)?;
        }
        state.head = changed.head;
        Ok(true)
    }

    /// Returns what is known of the indexes, if they may help.
    async fn known(&self) -> Result<KnownResource, Error> {
        let Parts { commands, known, resource, clock } = &self.parts;
        let epoch = clock.within(commands.connection()).await?.epoch;
        let found = known.of(resource, epoch);
        let is_plain = self.criteria.is_everything() && self.criteria.sort.is_by_id();
        match found.indexes.is_some() || is_plain {
            true => Ok(found),
            false => clock.within(state::read_known(commands, known, resource)).await,
        }
    }

    /// Returns the plan that probably reads the fewest records.
    async fn plan(&self, known: &KnownResource) -> Result<Plan, Error> {
        let mut plans = plan::candidates(self.criteria, known);
        let scan = plan::scan(self.criteria, known);
        if plans.is_empty() || (plans.len() == 1 && scan.is_none()) {
            return Ok(plans.pop().or(scan).unwrap_or_else(Plan::everything));
        }
        let counts = self.parts.count(&plans).await?;
        let best = (0..plans.len()).min_by_key(|number| counts[*number]).unwrap_or_default();
        match scan {
            Some(scan) if counts[best] > MAX_CANDIDATES => Ok(scan),
            _ => Ok(plans.swap_remove(best)),
        }
    }

    /// Returns the number of records to read next, after so many. In the order of the criteria, as
    /// many are read as may be enough, and then more and more of them, because some may not match.
    fn part_size(&self, plan: &Plan, read: usize) -> usize {
        let is_in_order = plan.has_order_of(self.criteria);
        let needed = self.criteria.needed_records().filter(|_| is_in_order);
        needed.map_or(MAX_RECORDS, |needed| needed.saturating_add(2 * read).clamp(1, MAX_RECORDS))
    }

    /// Ends a read that takes too long, or looks at too many records.
    fn check(&self, state: &ReadState, plan: &Plan, known: &KnownResource) -> Result<(), Error> {
        self.parts.clock.check()?;
        if !plan.is_scan() || state.records <= self.scan_limit {
            return Ok(());
        }
        let attributes = plan::missing_indexes(self.criteria, known);
        Err(Error::TooMuchToScan {
            resource: self.parts.resource.clone(),
            limit: self.scan_limit,
            attributes: attributes.into_iter().map(str::to_owned).collect(),
        })
    }
}
