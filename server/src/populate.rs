//! Records bring along those they are associated with: one more query for each association, however many
//! records there are, or two where the ids are in pairs.
//!
//! A record that comes along with many is in memory once. Those that come along count as records of the answer.

mod filled;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backwire_engine::{ReadOptions, Record};
use backwire_records::change::{Id, Resource};
use backwire_records::criteria::{Criteria, Language, Parameters, SIZE, Window};
use backwire_records::model::{Association, Link, Model, Populate};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::subscription::{self, Read};
use filled::Content;

pub(crate) use filled::Filled;

/// What is to be filled in, and where.
pub(crate) struct Filling<'a> {
    cx: &'a Context,
    resource: &'a Resource,
    populate: &'a Populate,
}

impl<'a> Filling<'a> {
    pub(crate) fn new(cx: &'a Context, resource: &'a Resource, populate: &'a Populate) -> Self {
        Self { cx, resource, populate }
    }

    fn wanted(&self) -> impl Iterator<Item = (&'a String, &'a Association)> {
        let all = self.cx.associations().of(self.resource);
        all.filter(|(name, _)| self.populate.has(name))
    }

    /// Adds the associations that are filled in to the criteria. The answer contains them even if
    /// `select` does not name them, and a client cannot keep it up to date from pushes.
    pub(crate) fn widen(&self, criteria: &mut Criteria) {
        for (name, _) in self.wanted() {
            criteria.projection.show(name);
            criteria.populate.insert(name.clone());
        }
    }

    /// Fills in what was read.
    pub(crate) async fn fill_all(&self, read: Read<Vec<Record>>) -> Result<Read<Vec<Filled>>> {
        let (records, rest) = read.take();
        let filled = self.fill(records).await?;
        Ok(rest.map(|()| filled))
    }

    /// Fills in. The ways are boxed: most reads take none of them, and should not carry the room for all.
    pub(crate) async fn fill(&self, records: Vec<Record>) -> Result<Vec<Filled>> {
        let key = &self.cx.model(self.resource)?.key;
        let mut records: Vec<_> = records.into_iter().map(Filled::new).collect();
        for (name, association) in self.wanted() {
            let model = self.cx.model(&association.target)?;
            let (target, options) = (&association.target, self.cx.reads());
            let found = Found { cx: self.cx, target, model: &model, options };
            match &association.link {
                Link::Holds { .. } => Box::pin(found.one_each(&mut records, name)).await?,
                Link::HeldBy(via) => Box::pin(found.held_by(&mut records, key, name, via)).await?,
                Link::Paired { .. } => {
                    Box::pin(found.paired(&mut records, key, name, association)).await?
                }
            }
            options.check_records(records.iter().map(Filled::count).sum())?;
        }
        Ok(records)
    }
}

/// Where associated records are found.
struct Found<'a> {
    cx: &'a Context,
    target: &'a Resource,
    model: &'a Model,
    options: &'a ReadOptions,
}

impl Found<'_> {
    /// The one record whose id the attribute holds; null if it is gone.
    async fn one_each(&self, records: &mut [Filled], name: &str) -> Result<()> {
        let ids = ids_in(records, name);
        let all = self.by_id(&Criteria::default(), ids.into_iter().collect()).await?;
        for record in records {
            let other = record.id(name).and_then(|id| all.get(&id)).cloned();
            record.add(name, Content::One(other));
        }
        Ok(())
    }

    /// Those whose attribute holds the record's id.
    async fn held_by(
        &self,
        records: &mut [Filled],
        key: &str,
        name: &str,
        via: &str,
    ) -> Result<()> {
        let default = self.default()?;
        let ids = ids_in(records, key);
        let others = match self.holding(&default, via, &ids).await {
            // Of many, it may be few that are shown.
            Err(Error::Engine(error)) if error.is_limit_of_read() && most(&default).is_some() => {
                self.first_of_each(&default, via, &ids).await?
            }
            others => others?,
        };
        let mut groups: HashMap<Id, Vec<Record>> = HashMap::new();
        for other in others {
            if let Some(id) = other.id(via) {
                groups.entry(id).or_default().push(other);
            }
        }
        let group = |id: &Id| groups.get(id).cloned().unwrap_or_default();
        collect(records, key, name, &default, group);
        Ok(())
    }

    /// Those the record is in a pair with.
    async fn paired(
        &self,
        records: &mut [Filled],
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
        collect(records, key, name, &default, group);
        Ok(())
    }

    /// What a read of the collection would have that says nothing.
    fn default(&self) -> Result<Criteria> {
        Ok(Criteria::read_for(self.model, Parameters::default(), Language::Current)?)
    }

    async fn by_id(&self, among: &Criteria, ids: BTreeSet<Id>) -> Result<BTreeMap<Id, Record>> {
        let (key, ids) = (&self.model.key, Vec::from_iter(ids));
        let all = self.holding(among, key, &ids).await?;
        Ok(all.into_iter().filter_map(|it| Some((it.id(key)?, it))).collect())
    }

    /// Those that have one of these ids in an attribute, in the order of their own. However many are asked
    /// for, a query has no more of them than criteria may have.
    async fn holding(&self, among: &Criteria, attribute: &str, ids: &[Id]) -> Result<Vec<Record>> {
        let mut all = Vec::new();
        for ids in ids.chunks(SIZE) {
            self.add_holding(&mut all, among, Window::default(), attribute, ids).await?;
        }
        Ok(all)
    }

    /// Of each of these ids no more than are shown.
    async fn first_of_each(
        &self,
        among: &Criteria,
        attribute: &str,
        ids: &[Id],
    ) -> Result<Vec<Record>> {
        let window = Window { skip: 0, limit: most(among) };
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
        let some = some.and_holding(attribute, ids);
        let read = subscription::find_along(self.cx, self.target, &some, self.options);
        all.extend(read.await?.value);
        self.options.check_records(all.len())?;
        Ok(self.options.check_bytes(all.iter().map(Record::bytes).sum())?)
    }
}

/// Who is in pairs with each of these, by id.
pub(crate) async fn pairs(
    cx: &Context,
    association: &Association,
    ids: &[Id],
) -> Result<HashMap<Id, BTreeSet<Id>>> {
    let mut pairs: HashMap<Id, BTreeSet<Id>> = HashMap::new();
    let Link::Paired { join, own } = &association.link else { return Ok(pairs) };
    let join = join.resource();
    let (model, options) = (cx.model(&join)?, cx.reads().unbounded());
    for ids in ids.chunks(SIZE) {
        let criteria = Criteria::holding(&model, own.name(), ids);
        for pair in cx.engine().find_for(&join, &criteria, &options).await?.value {
            let id = |side: &str| pair.id(side);
            if let Some((own, other)) = id(own.name()).zip(id(own.other().name())) {
                pairs.entry(own).or_default().insert(other);
            }
        }
    }
    Ok(pairs)
}

fn collect(
    records: &mut [Filled],
    key: &str,
    name: &str,
    default: &Criteria,
    group: impl Fn(&Id) -> Vec<Record>,
) {
    let most = most(default).unwrap_or(usize::MAX);
    for record in records {
        let mut group = record.id(key).as_ref().map(&group).unwrap_or_default();
        group.truncate(most);
        record.add(name, Content::Many(group));
    }
}

/// How many of a collection are shown that nothing is asked of.
fn most(default: &Criteria) -> Option<usize> {
    default.window.limit.into_iter().chain(default.most).min()
}

/// The ids in an attribute of these records, each once.
fn ids_in(records: &[Filled], name: &str) -> Vec<Id> {
    let ids = records.iter().filter_map(|record| record.id(name));
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}
