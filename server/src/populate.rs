//! Records bring along those they are associated with: one more query for each association, however many
//! records there are, or two where the ids are in pairs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::change::{Attributes, Id, Resource};
use crate::context::Context;
use crate::criteria::{Criteria, Language, Parameters, SIZE};
use crate::error::Result;
use crate::model::{Association, Link, Model, Populate};
use crate::subscription;

type Records = Vec<Arc<Attributes>>;

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

    /// Fills in. The ways are boxed: most reads take none of them, and should not carry the room for all.
    pub(crate) async fn fill(&self, mut records: Records) -> Result<Records> {
        let key = &self.cx.model(self.resource)?.key;
        for (name, association) in self.wanted() {
            let model = self.cx.model(&association.target)?;
            let found = Found { cx: self.cx, target: &association.target, model: &model };
            match &association.link {
                Link::Holds { .. } => Box::pin(found.one_each(&mut records, name)).await?,
                Link::HeldBy(via) => Box::pin(found.held_by(&mut records, key, name, via)).await?,
                Link::Paired { .. } => {
                    Box::pin(found.paired(&mut records, key, name, association)).await?
                }
            }
        }
        Ok(records)
    }
}

/// Where associated records are found.
struct Found<'a> {
    cx: &'a Context,
    target: &'a Resource,
    model: &'a Model,
}

impl Found<'_> {
    /// The one record whose id the attribute holds; null if it is gone.
    async fn one_each(&self, records: &mut Records, name: &str) -> Result<()> {
        let ids = ids_in(records, name);
        let all = self.by_id(&Criteria::default(), ids.into_iter().collect()).await?;
        for record in records {
            let id = record.get(name).and_then(Id::from_json);
            let other = id.and_then(|id| all.get(&id)).map(object);
            Arc::make_mut(record).insert(name.to_owned(), other.unwrap_or_default());
        }
        Ok(())
    }

    /// Those whose attribute holds the record's id.
    async fn held_by(&self, records: &mut Records, key: &str, name: &str, via: &str) -> Result<()> {
        let default = self.default()?;
        let mut groups: HashMap<Id, Vec<Value>> = HashMap::new();
        for other in self.holding(&default, via, ids_in(records, key)).await? {
            if let Some(id) = other.get(via).and_then(Id::from_json) {
                groups.entry(id).or_default().push(object(&other));
            }
        }
        let group = |id: &Id| groups.get(id).cloned().unwrap_or_default();
        collect(records, key, name, &default, group);
        Ok(())
    }

    /// Those the record is in a pair with.
    async fn paired(
        &self,
        records: &mut Records,
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
            ids.filter_map(|id| all.get(id)).map(object).collect()
        };
        collect(records, key, name, &default, group);
        Ok(())
    }

    /// What a read of the collection would have that says nothing.
    fn default(&self) -> Result<Criteria> {
        Ok(Criteria::read_for(self.model, Parameters::default(), Language::Current)?)
    }

    async fn by_id(
        &self,
        among: &Criteria,
        ids: BTreeSet<Id>,
    ) -> Result<BTreeMap<Id, Arc<Attributes>>> {
        let key = &self.model.key;
        let all = self.holding(among, key, ids.into_iter().collect()).await?;
        let with_id = |it: Arc<Attributes>| Some((it.get(key).and_then(Id::from_json)?, it));
        Ok(all.into_iter().filter_map(with_id).collect())
    }

    /// Those that have one of these ids in an attribute, in the order of their own. However many are asked
    /// for, a query has no more of them than criteria may have.
    async fn holding(&self, among: &Criteria, attribute: &str, ids: Vec<Id>) -> Result<Records> {
        let mut all = Vec::new();
        for ids in ids.chunks(SIZE) {
            let (key, filter) = (self.model.key.as_str().into(), among.filter.clone());
            let some = Criteria { key, filter, ..Criteria::default() };
            let some = some.and_holding(attribute, ids);
            all.extend(subscription::find_along(self.cx, self.target, &some).await?.value);
        }
        Ok(all)
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
    let model = cx.model(&join)?;
    for ids in ids.chunks(SIZE) {
        let criteria = Criteria::holding(&model, own.name(), ids);
        for pair in cx.engine().find(&join, &criteria).await?.value {
            let id = |side: &str| pair.get(side).and_then(Id::from_json);
            if let Some((own, other)) = id(own.name()).zip(id(own.other().name())) {
                pairs.entry(own).or_default().insert(other);
            }
        }
    }
    Ok(pairs)
}

fn collect(
    records: &mut Records,
    key: &str,
    name: &str,
    default: &Criteria,
    group: impl Fn(&Id) -> Vec<Value>,
) {
    let most = default.window.limit.into_iter().chain(default.most).min().unwrap_or(usize::MAX);
    for record in records {
        let id = record.get(key).and_then(Id::from_json);
        let mut group = id.as_ref().map(&group).unwrap_or_default();
        group.truncate(most);
        Arc::make_mut(record).insert(name.to_owned(), group.into());
    }
}

/// The ids in an attribute of these records, each once.
fn ids_in(records: &Records, name: &str) -> Vec<Id> {
    let ids = records.iter().filter_map(|record| record.get(name).and_then(Id::from_json));
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}

fn object(record: &Arc<Attributes>) -> Value {
    Value::Object(Attributes::clone(record))
}
