//! The records that match, as far as they were read.

use std::collections::{BTreeMap, BTreeSet};

use backwire_records::change::Id;
use backwire_records::criteria::{Criteria, HasAttributes, Projection};
use backwire_records::dangling::Dangling;
use serde_json::Value;
use serde_json::value::to_raw_value;

use super::encoding;
use super::plan::{Order, Plan};
use super::stored::{StoredRecord, attributes, unreadable};
use crate::cascades::ResourceCascades;
use crate::partial_record::PartialRecord;
use crate::{Error, ReadOptions, Record};

/// The records that match.
pub(super) struct Matches<'a> {
    criteria: &'a Criteria,
    options: &'a ReadOptions,
    names: BTreeSet<&'a str>,
    records: BTreeMap<Id, Match<'a>>,
    /// The bytes of the records.
    bytes: usize,
}

/// A record that matches.
struct Match<'a> {
    /// The attributes that it is sorted by.
    partial: PartialRecord<'a>,
    json: String,
    changed: u64,
    /// Its value in the order of the plan.
    value: Vec<u8>,
}

impl HasAttributes for &Match<'_> {
    fn attribute(&self, name: &str) -> &Value {
        self.partial.attribute(name)
    }
}

impl<'a> Matches<'a> {
    pub(super) fn new(criteria: &'a Criteria, options: &'a ReadOptions) -> Self {
        let (names, records) = (criteria.names(), BTreeMap::new());
        Self { criteria, options, names, records, bytes: 0 }
    }

    /// Adds a record, or replaces it by its later version. Records that the plan still has to read
    /// are left out.
    pub(super) fn add(
        &mut self,
        id: Id,
        stored: Option<StoredRecord>,
        plan: &Plan,
        cascades: &ResourceCascades,
    ) -> Result<(), Error> {
        if let Some(former) = self.records.remove(&id) {
            self.bytes -= former.json.len();
        }
        let Some(StoredRecord { changed, json: Some(json), .. }) = stored else { return Ok(()) };
        let dangling = dangling(&json, changed, cascades)?;
        let partial = PartialRecord::read(&json, &self.names).map_err(unreadable)?;
        let value = match &plan.order {
            Order::Index(name) => encoding::value(partial.attribute(name)),
            Order::Ids | Order::Any => Vec::new(),
        };
        let Some(mut partial) = partial.resolve(&dangling) else { return Ok(()) };
        if plan.has_read(&value, &id) && self.criteria.matches(&partial) {
            partial.keep(&self.criteria.sort.names());
            self.bytes += json.len();
            self.records.insert(id, Match { partial, json, changed, value });
        }
        Ok(())
    }

    /// Whether no more records are needed: those that the plan has read are the first of all.
    pub(super) fn are_enough(&self, plan: &Plan) -> bool {
        let Some(frontier) = plan.frontier() else { return true };
        let Some(needed) = self.criteria.needed_records() else { return false };
        match &plan.order {
            Order::Any => false,
            Order::Ids => plan.has_order_of(self.criteria) && self.records.len() >= needed,
            Order::Index(_) => {
                let (value, _) = encoding::split(frontier);
                let has_one_term = self.criteria.sort.0.len() == 1;
                if has_one_term && !plan.is_reverse && !encoding::is_truncated(value) {
                    return self.records.len() >= needed;
                }
                // Records with the same value may be in another order.
                let before = self.records.values().filter(|it| match plan.is_reverse {
                    true => it.value[..] > *value,
                    false => it.value[..] < *value,
                });
                before.count() >= needed
            }
        }
    }

    /// Ends a read that has become too large.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.criteria.window().limit.is_none() {
            let count = self.records.len().saturating_sub(self.criteria.window().skip);
            self.options.check_records(count)?;
        }
        let ReadOptions { bytes, sort_bytes, .. } = self.options;
        match self.criteria.sort.is_by_id() {
            true if self.bytes > *bytes.max(sort_bytes) => Err(Error::TooManyBytes(*bytes)),
            false if self.bytes > *sort_bytes => Err(Error::TooMuchToSort(*sort_bytes)),
            _ => Ok(()),
        }
    }

    /// Returns the records of the answer.
    pub(super) fn answer(&self, cascades: &ResourceCascades) -> Result<Vec<Record>, Error> {
        let chosen = self.criteria.arrange(self.records.values());
        self.options.check_records(chosen.len())?;
        let (mut records, mut bytes) = (Vec::new(), 0_usize);
        for Match { json, changed, .. } in chosen {
            let record = self.project(json, *changed, cascades)?;
            bytes = bytes.saturating_add(record.bytes());
            self.options.check_bytes(bytes)?;
            self.options.memory.add(record.bytes())?;
            records.push(record);
        }
        Ok(records)
    }

    /// Returns the part of a record that the answer contains.
    fn project(
        &self,
        json: &str,
        changed: u64,
        cascades: &ResourceCascades,
    ) -> Result<Record, Error> {
        let dangling = dangling(json, changed, cascades)?;
        if self.criteria.projection == Projection::Whole && dangling == Dangling::Nothing {
            return Record::of_json(json).map_err(unreadable);
        }
        let record = dangling.resolve(attributes(json)?).unwrap_or_default();
        let projected = to_raw_value(&self.criteria.projection.of(record)).map_err(unreadable)?;
        Ok(Record::Json(projected.into()))
    }
}

/// Returns the dangling references of a record.
fn dangling(json: &str, changed: u64, cascades: &ResourceCascades) -> Result<Dangling, Error> {
    if cascades.is_empty() {
        return Ok(Dangling::Nothing);
    }
    let partial = PartialRecord::read(json, &cascades.names().collect()).map_err(unreadable)?;
    Ok(cascades.dangling(&partial, changed))
}
