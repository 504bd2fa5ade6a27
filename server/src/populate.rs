//! Adds associated records to the records of a read: one more query for each association, however
//! many records there are, or two if the ids are in pairs.
//!
//! A record that is associated with many is in memory once. Associated records count as records of
//! the answer.

mod populated_record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backwire_engine::{ReadOptions, Record};
use backwire_environment::HashMap;
use backwire_records::change::{Attributes, Id, Resource, Room};
use backwire_records::criteria::{Criteria, Language, MAX_CRITERIA_SIZE, Parameters, Window};
use backwire_records::model::{Association, Link, Model, Populate};

use crate::context::Context;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::subscription::{self, Read};
use populated_record::Content;

pub(crate) use populated_record::PopulatedRecord;

/// Populates records of a resource with their associated records.
pub(crate) struct Populator<'a> {
    cx: &'a Context,
    resource: &'a Resource,
    populate: &'a Populate,
}

impl<'a> Populator<'a> {
    pub(crate) fn new(cx: &'a Context, resource: &'a Resource, populate: &'a Populate) -> Self {
        Self { cx, resource, populate }
    }

    fn populated_associations(&self) -> impl Iterator<Item = (&'a String, &'a Association)> {
        let all = self.cx.associations().of(self.resource);
        all.filter(|(name, _)| self.populate.has(name))
    }

    /// Adds the populated associations to the criteria. The answer contains them even if `select`
    /// does not name them, and a client cannot keep it up to date from pushes.
    pub(crate) fn add_to_criteria(&self, criteria: &mut Criteria) {
        for (name, _) in self.populated_associations() {
            criteria.projection.show(name);
            criteria.populate.insert(name.clone());
        }
    }

    /// Populates the records of a read.
    pub(crate) async fn populate_read(
        &self,
        read: Read<Vec<Record>>,
    ) -> Result<Read<Vec<PopulatedRecord>>> {
        let (records, rest) = read.split();
        if !records.is_empty() {
            watch_associated_resources(self.cx, self.resource)?;
        }
        let populated = self.populate_records(records, true).await?;
        Ok(rest.map(|()| populated))
    }

    /// Populates the record of a write. The write is committed, so if the answer would be too
    /// large, the record is not populated. In Sails a write subscribes to no associated records.
    pub(crate) async fn populate_written(
        &self,
        record: Arc<Attributes>,
    ) -> Result<PopulatedRecord> {
        let subscribes = !self.cx.model(self.resource)?.conventions.are_of_sails();
        match self.populate_records(vec![Arc::clone(&record).into()], subscribes).await {
            Ok(mut populated) if populated.len() == 1 => Ok(populated.remove(0)),
            Err(Error::Engine(error)) if !error.is_limit_of_read() => Err(error.into()),
            _ => Ok(PopulatedRecord::new(record.into())),
        }
    }

    /// Populates records. The futures are boxed: most reads need none of them, and should not
    /// reserve memory for all.
    async fn populate_records(
        &self,
        records: Vec<Record>,
        subscribes: bool,
    ) -> Result<Vec<PopulatedRecord>> {
        let key = &self.cx.model(self.resource)?.key;
        let mut records: Vec<_> = records.into_iter().map(PopulatedRecord::new).collect();
        for (name, association) in self.populated_associations() {
            let model = self.cx.model(&association.target)?;
            let (target, options) = (&association.target, self.cx.reads());
            let reader =
                AssociationReader { cx: self.cx, target, model: &model, options, subscribes };
            match &association.link {
                Link::Holds { .. } => Box::pin(reader.add_single(&mut records, name)).await?,
                Link::HeldBy(via) => {
                    Box::pin(reader.add_held_by(&mut records, key, name, via)).await?
                }
                Link::Paired { .. } => {
                    Box::pin(reader.add_paired(&mut records, key, name, association)).await?
                }
            }
            options.check_records(records.iter().map(PopulatedRecord::count).sum())?;
        }
        Ok(records)
    }
}

/// Subscribes a client of Sails to the new records of the associated resources, as Sails does when
/// such a client reads a record, whether it populates them or not.
pub(crate) fn watch_associated_resources(cx: &Context, resource: &Resource) -> Result<()> {
    let model = cx.model(resource)?;
    let client = cx.client().filter(|client| client.dialect() == Dialect::Sails);
    let Some(client) = client.filter(|_| model.conventions.are_of_sails()) else {
        return Ok(());
    };
    for (_, association) in cx.associations().of(resource) {
        let class = Room::class(association.target.clone());
        if cx.model(&association.target)?.access.is_open()
            && subscription::may_join(cx.shared(), client, &class)
        {
            cx.keep_if_answered(client.join_to_read([class]));
        }
    }
    Ok(())
}

/// Reads the associated records of one association.
struct AssociationReader<'a> {
    cx: &'a Context,
    target: &'a Resource,
    model: &'a Model,
    options: &'a ReadOptions,
    /// Whether a stock client is subscribed to these records.
    subscribes: bool,
}

impl AssociationReader<'_> {
    /// Adds the one record whose id the attribute holds, or null if it is gone.
    async fn add_single(&self, records: &mut [PopulatedRecord], name: &str) -> Result<()> {
        let ids = ids_in(records, name);
        let all = self.by_id(&Criteria::default(), ids.into_iter().collect()).await?;
        for record in records {
            let other = record.id(name).and_then(|id| all.get(&id)).cloned();
            record.add(name, Content::One(other));
        }
        Ok(())
    }

    /// Adds the records whose attribute holds the record's id.
    async fn add_held_by(
        &self,
        records: &mut [PopulatedRecord],
        key: &str,
        name: &str,
        via: &str,
    ) -> Result<()> {
        let default = self.default()?;
        let ids = ids_in(records, key);
        let others = match self.holding(&default, via, &ids).await {
            // Only a few of many records may be shown.
            Err(Error::Engine(error))
                if error.is_limit_of_read() && max_shown(&default).is_some() =>
            {
                self.first_of_each(&default, via, &ids).await?
            }
            others => others?,
        };
        let mut groups: HashMap<Id, Vec<Record>> = HashMap::default();
        for other in others {
            if let Some(id) = other.id(via) {
                groups.entry(id).or_default().push(other);
            }
        }
        let group = |id: &Id| groups.get(id).cloned().unwrap_or_default();
        add_groups(records, key, name, &default, group);
        Ok(())
    }

    /// Adds the records that are in a pair with the record.
    async fn add_paired(
        &self,
        records: &mut [PopulatedRecord],
        key: &str,
        name: &str,
        association: &Association,
    ) -> Result<()> {
        let default = self.default()?;
        let pairs = pairs(self.cx, association, &ids_in(records, key)).await?;
        let others = pairs.values().flatten().cloned().collect();
        let all = self.by_id(&default, others).await?;
        let group = |id: &Id| {
            let ids = pairs.get(id).into_iter().flatten();
            ids.filter_map(|id| all.get(id)).cloned().collect()
        };
        add_groups(records, key, name, &default, group);
        Ok(())
    }

    /// Returns the criteria of a read of the collection without parameters.
    fn default(&self) -> Result<Criteria> {
        Ok(Criteria::read_for(self.model, Parameters::default(), Language::Current)?)
    }

    async fn by_id(&self, among: &Criteria, ids: BTreeSet<Id>) -> Result<BTreeMap<Id, Record>> {
        let (key, ids) = (&self.model.key, Vec::from_iter(ids));
        let all = self.holding(among, key, &ids).await?;
        Ok(all.into_iter().filter_map(|it| Some((it.id(key)?, it))).collect())
    }

    /// Returns the records that have one of these ids in an attribute, in their own order. A query
    /// has no more ids than criteria may have, however many are requested.
    async fn holding(&self, among: &Criteria, attribute: &str, ids: &[Id]) -> Result<Vec<Record>> {
        let mut all = Vec::new();
        for ids in ids.chunks(MAX_CRITERIA_SIZE) {
            self.add_holding(&mut all, among, Window::default(), attribute, ids).await?;
        }
        Ok(all)
    }

    /// Returns for each of these ids no more records than are shown.
    async fn first_of_each(
        &self,
        among: &Criteria,
        attribute: &str,
        ids: &[Id],
    ) -> Result<Vec<Record>> {
        let window = Window { skip: 0, limit: max_shown(among) };
        let mut all = Vec::new();
        for id in ids.chunks(1) {
            self.add_holding(&mut all, among, window, attribute, id).await?;
        }
        Ok(all)
    }

    async fn add_holding(
        &self,
        all: &mut Vec<Record>,
        among: &Criteria,
        window: Window,
        attribute: &str,
        ids: &[Id],
    ) -> Result<()> {
        let (key, filter) = (self.model.key.as_str().into(), among.filter.clone());
        let some = Criteria { key, filter, window, ..Criteria::default() };
        let some = some.and_attribute_in(attribute, ids);
        let (cx, target, options) = (self.cx, self.target, self.options);
        let read = match self.subscribes {
            true => subscription::find_associated(cx, target, &some, options).await?,
            false => {
                subscription::find_associated_without_subscription(cx, target, &some, options)
                    .await?
            }
        };
        all.extend(read.value);
        self.options.check_records(all.len())?;
        Ok(self.options.check_bytes(all.iter().map(Record::bytes).sum())?)
    }
}

/// Returns the ids that are in pairs with each of these ids.
pub(crate) async fn pairs(
    cx: &Context,
    association: &Association,
    ids: &[Id],
) -> Result<HashMap<Id, BTreeSet<Id>>> {
    let mut pairs: HashMap<Id, BTreeSet<Id>> = HashMap::default();
    let Link::Paired { join, own } = &association.link else { return Ok(pairs) };
    let join = join.resource();
    let (model, options) = (cx.model(&join)?, cx.reads().unbounded());
    for ids in ids.chunks(MAX_CRITERIA_SIZE) {
        let criteria = Criteria::with_attribute_in(&model, own.name(), ids);
        for pair in cx.engine().find_for(&join, &criteria, &options).await?.value {
            let id = |side: &str| pair.id(side);
            if let Some((own, other)) = id(own.name()).zip(id(own.other().name())) {
                pairs.entry(own).or_default().insert(other);
            }
        }
    }
    Ok(pairs)
}

fn add_groups(
    records: &mut [PopulatedRecord],
    key: &str,
    name: &str,
    default: &Criteria,
    group: impl Fn(&Id) -> Vec<Record>,
) {
    let max = max_shown(default).unwrap_or(usize::MAX);
    for record in records {
        let mut group = record.id(key).as_ref().map(&group).unwrap_or_default();
        group.truncate(max);
        record.add(name, Content::Many(group));
    }
}

/// Returns how many records of a collection are shown by default.
fn max_shown(default: &Criteria) -> Option<usize> {
    default.window.limit.into_iter().chain(default.max_records).min()
}

/// Returns the ids in an attribute of these records, each once.
fn ids_in(records: &[PopulatedRecord], name: &str) -> Vec<Id> {
    let ids = records.iter().filter_map(|record| record.id(name));
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}
