//! Which records belong together: one to one, many to one, many to many.
//!
//! A model only says its own half, `owner: {model: user}` or `pets: {collection: pet, via: owner}`. When all
//! are declared, the halves are put together here, once, and whatever does not fit is told. All of it is pure.
//!
//! A record holds the id of the one it belongs to. A collection is not stored: it is those who hold this
//! record's id or, where both sides are collections, those it is in a pair with. Pairs are records of a
//! resource of their own, the join, to which no path leads.

use std::collections::{BTreeMap, HashMap};

use super::models::is_plain;
use super::{Attribute, Ids, Model, Timestamps};
use crate::change::{Attributes, Change, Id, Resource};
use crate::nearest::hint;

/// What belongs to what, in all that is declared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Associations {
    of: HashMap<Resource, BTreeMap<String, Association>>,
    joins: HashMap<Resource, Join>,
}

/// What an attribute has to do with the records of some resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Association {
    pub(crate) target: Resource,
    pub(crate) link: Link,
}

/// Where the ids are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// In the attribute itself: that of the one other record.
    Holds {
        /// Whether there has to be one.
        required: bool,
        /// Of which collections of the other it makes this record a part.
        collections: Vec<String>,
    },
    /// In this attribute of the others.
    HeldBy(String),
    /// In pairs.
    Paired {
        /// Whose records these are.
        join: Resource,
        /// Where in them this side's id is.
        own: Side,
    },
}

/// A place in a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Second,
}

/// Two records that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Made of the two others, so that there is only one such pair.
    pub(crate) id: Id,
    first: Id,
    second: Id,
}

/// The key of a pair.
const KEY: &str = "id";

/// Both sides of a join: resource and attribute.
#[derive(Debug, Clone)]
struct Join([(Resource, String); 2]);

/// One record becomes part of a collection of another, or is no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Whose collection it is.
    pub(crate) resource: Resource,
    pub(crate) id: Id,
    pub(crate) attribute: String,
    pub(crate) member: Id,
    pub(crate) is_new: bool,
}

/// Why what is declared of an association can not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It says both `model` and `collection`.
    #[error("it is either a model or a collection")]
    Both,
    /// `via` or `dominant` where nothing is a collection.
    #[error("only a collection has via and dominant")]
    NoCollection,
    /// A collection that does not say how.
    #[error("a collection needs via: the attribute on the other side")]
    NoVia,
    /// A rule for values of a collection.
    #[error("a collection is not stored, so it has no rules but collection, via and dominant")]
    Rule,
    /// The attribute is the key or a timestamp.
    #[error("this is the server's own attribute")]
    Own,
    /// Its name can not stand in a path, or in an index.
    #[error("the name of an association has letters, digits and _ only")]
    Name,
    /// The other side is not declared.
    #[error("no resource {0} is declared{1}")]
    NoResource(String, String),
    /// `via` names nothing.
    #[error("{0} has no attribute {1}{2}")]
    NoAttribute(Resource, String, String),
    /// `via` names what does not lead back.
    #[error(
        "{0}.{1} does not lead back: it has to be {{model: {2}}} or {{collection: {2}, via: {3}}}"
    )]
    NotBack(Resource, String, Resource, String),
    /// A collection of its own kind that is its own other side.
    #[error("via has to be another attribute than the collection itself")]
    Itself,
    /// Both sides of a many-to-many are dominant.
    #[error("{0}.{1} is dominant already")]
    Dominant(Resource, String),
    /// What is to be filled in by default is no association.
    #[error("{0} is no association{1}")]
    Populate(String, String),
}

impl Side {
    /// The attribute of a pair.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// The pair of this side's id and the other's; `None` if both together are too long.
    pub(crate) fn pair(self, own: &Id, other: &Id) -> Option<Pair> {
        let (first, second) = match self {
            Self::First => (own, other),
            Self::Second => (other, own),
        };
        let id = Id::parse(&serde_json::to_string(&[first, second]).ok()?)?;
        Some(Pair { id, first: first.clone(), second: second.clone() })
    }
}

impl Pair {
    /// Its record.
    pub(crate) fn attributes(&self) -> Attributes {
        let of = |name: &str, id: &Id| (name.to_owned(), id.to_json());
        let sides = [(Side::First, &self.first), (Side::Second, &self.second)];
        let sides = sides.map(|(side, id)| of(side.name(), id));
        [of(KEY, &self.id)].into_iter().chain(sides).collect()
    }
}

impl Associations {
    /// Puts the halves together.
    pub(super) fn read(
        declared: &BTreeMap<&Resource, &Model>,
    ) -> Result<Self, (Resource, String, Unfit)> {
        let mut associations = Self::default();
        for (&resource, &model) in declared {
            for (name, attribute) in &model.attributes {
                let half = Half { resource, name, attribute, declared };
                let read = half.check(model).and_then(|()| half.read());
                let told = |unfit| (resource.clone(), name.clone(), unfit);
                if let Some(association) = read.map_err(told)? {
                    if let Link::Paired { join, .. } = &association.link {
                        let via = attribute.via.clone().unwrap_or_default();
                        let sides = sides(resource, name, &association.target, &via);
                        associations.joins.entry(join.clone()).or_insert(Join(sides));
                    }
                    let of = associations.of.entry(resource.clone()).or_default();
                    of.insert(name.clone(), association);
                }
            }
            associations.check_populate(resource, model)?;
        }
        Ok(associations)
    }

    fn check_populate(
        &self,
        resource: &Resource,
        model: &Model,
    ) -> Result<(), (Resource, String, Unfit)> {
        let known = || self.of(resource).map(|(name, _)| name.as_str());
        for name in model.find.populate.names() {
            if !known().any(|known| known == name) {
                let unfit = Unfit::Populate(name.clone(), hint(name, known()));
                return Err((resource.clone(), "find.populate".to_owned(), unfit));
            }
        }
        Ok(())
    }

    /// The models of the joins.
    pub(super) fn joins(&self) -> impl Iterator<Item = (Resource, Model)> {
        let side = || Attribute { required: true, indexed: true, ..Attribute::default() };
        self.joins.keys().map(move |join| {
            let model = Model { ids: Ids::Client, timestamps: Timestamps::Off, ..Model::default() };
            let sides = [Side::First, Side::Second].into_iter();
            let model = sides.fold(model, |model, it| model.attribute(it.name(), side()));
            (join.clone(), model)
        })
    }

    /// Those of a resource, by attribute.
    pub(crate) fn of(&self, resource: &Resource) -> impl Iterator<Item = (&String, &Association)> {
        self.of.get(resource).into_iter().flatten()
    }

    /// The one with this name, in upper or lower case.
    pub(crate) fn named(&self, resource: &Resource, name: &str) -> Option<(&str, &Association)> {
        let mut all = self.of(resource);
        let (name, association) = all.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some((name, association))
    }

    /// Who becomes part of what by a change, and who no longer is.
    pub(crate) fn memberships(&self, change: &Change) -> Vec<Membership> {
        if change.published {
            return Vec::new();
        }
        if let Some(Join(sides)) = self.joins.get(&change.resource) {
            return in_pair(sides, change);
        }
        let mut memberships = Vec::new();
        for (name, association) in self.of(&change.resource) {
            let Link::Holds { collections, .. } = &association.link else { continue };
            let held = |record: Option<&Attributes>| Id::from_json(record?.get(name)?);
            let (before, after) = (held(change.before.as_deref()), held(change.after.as_deref()));
            if before == after {
                continue;
            }
            for (id, is_new) in
                after.iter().map(|id| (id, true)).chain(before.iter().map(|id| (id, false)))
            {
                memberships.extend(collections.iter().map(|attribute| Membership {
                    resource: association.target.clone(),
                    id: id.clone(),
                    attribute: attribute.clone(),
                    member: change.id.clone(),
                    is_new,
                }));
            }
        }
        memberships
    }

    /// Where the id of a record of this resource may be held that need not be: resource and attribute.
    pub(crate) fn holders<'a>(
        &'a self,
        target: &'a Resource,
    ) -> impl Iterator<Item = (&'a Resource, &'a str)> {
        let all = self.of.iter().flat_map(|(resource, of)| of.iter().map(move |it| (resource, it)));
        all.filter_map(move |(resource, (name, association))| match &association.link {
            Link::Holds { required: false, .. } if association.target == *target => {
                Some((resource, name.as_str()))
            }
            _ => None,
        })
    }

    /// In which pairs records of this resource may be: the join and their side of it.
    pub(crate) fn pairs<'a>(
        &'a self,
        resource: &'a Resource,
    ) -> impl Iterator<Item = (&'a Resource, Side)> {
        self.of(resource).filter_map(|(_, association)| match &association.link {
            Link::Paired { join, own } => Some((join, *own)),
            _ => None,
        })
    }
}

fn in_pair(sides: &[(Resource, String); 2], change: &Change) -> Vec<Membership> {
    let Some(pair) = change.after.as_deref().or(change.before.as_deref()) else {
        return Vec::new();
    };
    let id = |side: Side| Id::from_json(pair.get(side.name())?);
    let Some((first, second)) = id(Side::First).zip(id(Side::Second)) else {
        return Vec::new();
    };
    let membership =
        |(resource, attribute): &(Resource, String), id: &Id, member: &Id| Membership {
            resource: resource.clone(),
            id: id.clone(),
            attribute: attribute.clone(),
            member: member.clone(),
            is_new: change.after.is_some(),
        };
    vec![membership(&sides[0], &first, &second), membership(&sides[1], &second, &first)]
}

/// The same, whichever is asked first.
fn sides(one: &Resource, name: &str, other: &Resource, via: &str) -> [(Resource, String); 2] {
    let mut sides = [(one.clone(), name.to_owned()), (other.clone(), via.to_owned())];
    sides.sort();
    sides
}

/// What one model says of an association.
struct Half<'a> {
    resource: &'a Resource,
    name: &'a str,
    attribute: &'a Attribute,
    declared: &'a BTreeMap<&'a Resource, &'a Model>,
}

impl Half<'_> {
    /// Whether it makes sense by itself.
    fn check(&self, model: &Model) -> Result<(), Unfit> {
        let it = self.attribute;
        if !it.is_association() {
            let is_odd = it.via.is_some() || it.dominant;
            return if is_odd { Err(Unfit::NoCollection) } else { Ok(()) };
        }
        if model.is_own(self.name) {
            return Err(Unfit::Own);
        }
        if !is_plain(self.name) {
            return Err(Unfit::Name);
        }
        match (&it.model, &it.collection) {
            (Some(_), Some(_)) => Err(Unfit::Both),
            (Some(_), None) if it.via.is_some() || it.dominant => Err(Unfit::NoCollection),
            (None, Some(_)) if it.via.is_none() => Err(Unfit::NoVia),
            (None, Some(_)) if !it.has_no_rules() => Err(Unfit::Rule),
            _ => Ok(()),
        }
    }

    /// What it comes to, with the other half.
    fn read(&self) -> Result<Option<Association>, Unfit> {
        if let Some(target) = &self.attribute.model {
            let (target, model) = self.declared(target)?;
            let required = self.attribute.required;
            return Ok(Some(Association {
                target,
                link: Link::Holds { required, collections: self.collections(model) },
            }));
        }
        let Some((target, via)) =
            self.attribute.collection.as_ref().zip(self.attribute.via.as_ref())
        else {
            return Ok(None);
        };
        let (target, model) = self.declared(target)?;
        let back = model.attributes.get(via).ok_or_else(|| {
            let names = model.attributes.keys().map(String::as_str);
            Unfit::NoAttribute(target.clone(), via.clone(), hint(via, names))
        })?;
        let link = if self.is_me(back.model.as_deref()) {
            Link::HeldBy(via.clone())
        } else if self.is_me(back.collection.as_deref()) && back.via.as_deref() == Some(self.name) {
            self.paired(&target, via, back)?
        } else {
            let me = (self.resource.clone(), self.name.to_owned());
            return Err(Unfit::NotBack(target, via.clone(), me.0, me.1));
        };
        Ok(Some(Association { target, link }))
    }

    fn paired(&self, target: &Resource, via: &str, back: &Attribute) -> Result<Link, Unfit> {
        if target == self.resource && via == self.name {
            return Err(Unfit::Itself);
        }
        if self.attribute.dominant && back.dominant {
            return Err(Unfit::Dominant(target.clone(), via.to_owned()));
        }
        let [(first, name), (second, other)] = sides(self.resource, self.name, target, via);
        let is_first = first == *self.resource && name == self.name;
        let join = Resource::internal(&format!("{first}.{name}.{second}.{other}"));
        Ok(Link::Paired { join, own: if is_first { Side::First } else { Side::Second } })
    }

    /// The collections of the other side that this attribute makes a record part of.
    fn collections(&self, other: &Model) -> Vec<String> {
        let leads_here = |it: &Attribute| {
            self.is_me(it.collection.as_deref()) && it.via.as_deref() == Some(self.name)
        };
        let all = other.attributes.iter().filter(|(_, it)| leads_here(it));
        all.map(|(name, _)| name.clone()).collect()
    }

    fn is_me(&self, name: Option<&str>) -> bool {
        name.and_then(Resource::parse).as_ref() == Some(self.resource)
    }

    fn declared(&self, name: &str) -> Result<(Resource, &Model), Unfit> {
        let known =
            Resource::parse(name).and_then(|it| Some((self.declared.get(&it).copied()?, it)));
        match known {
            Some((model, resource)) => Ok((resource, model)),
            None => {
                let names = self.declared.keys().map(|it| it.as_str());
                Err(Unfit::NoResource(name.to_owned(), hint(name, names)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::change::Verb;
    use crate::dialect::runtime::tests::change;
    use crate::model::Models;

    fn models(declared: &Value) -> Result<Models, String> {
        let mut models = Models::default();
        for (name, attributes) in declared.as_object().unwrap() {
            let model = json!({ "attributes": attributes });
            models.declare(name, serde_json::from_value(model).unwrap()).unwrap();
        }
        models.associate().map(|()| models).map_err(|error| error.to_string())
    }

    fn refused(declared: Value) -> String {
        models(&declared).unwrap_err()
    }

    fn name(name: &str) -> Resource {
        Resource::parse(name).unwrap()
    }

    fn moved(before: Value, after: Value) -> Change {
        let record = |value: &Value| value.as_object().cloned().map(Arc::new);
        Change {
            resource: name("pet"),
            before: record(&before),
            after: record(&after),
            ..Change::clone(&change(1, 0, Verb::Update, json!({})))
        }
    }

    fn owned() -> Value {
        json!({ "user": { "pets": { "collection": "pet", "via": "owner" } },
                "pet": { "owner": { "model": "user" } } })
    }

    fn teams() -> Value {
        json!({ "user": { "teams": { "collection": "team", "via": "members", "dominant": true } },
                "team": { "members": { "collection": "user", "via": "teams" } } })
    }

    #[test]
    fn what_does_not_fit_is_told_with_the_nearest_that_would() {
        for (declared, expected) in [
            (
                json!({ "pet": { "owner": { "model": "usr" } }, "user": {} }),
                "pet.owner: no resource usr is declared; did you mean user?",
            ),
            (
                json!({ "user": { "pets": { "collection": "pet", "via": "ownr" } }, "pet": { "owner": { "model": "user" } } }),
                "user.pets: pet has no attribute ownr; did you mean owner?",
            ),
            (
                json!({ "user": { "pets": { "collection": "pet", "via": "name" } }, "pet": { "name": {} } }),
                "user.pets: pet.name does not lead back: it has to be {model: user} or {collection: user, via: pets}",
            ),
            (
                json!({ "user": { "pets": { "collection": "pet" } }, "pet": {} }),
                "user.pets: a collection needs via: the attribute on the other side",
            ),
            (
                json!({ "user": { "friends": { "collection": "user", "via": "friends" } } }),
                "user.friends: via has to be another attribute than the collection itself",
            ),
            (
                json!({ "user": { "pets": { "collection": "pet", "model": "pet", "via": "owner" } }, "pet": {} }),
                "user.pets: it is either a model or a collection",
            ),
            (
                json!({ "user": { "pets": { "via": "owner" } } }),
                "user.pets: only a collection has via and dominant",
            ),
            (
                json!({ "user": { "pets": { "collection": "pet", "via": "owner", "required": true } }, "pet": {} }),
                "user.pets: a collection is not stored, so it has no rules but collection, via and dominant",
            ),
            (
                json!({ "user": { "id": { "model": "user" } } }),
                "user.id: this is the server's own attribute",
            ),
            (
                json!({ "user": { "a-b": { "collection": "user", "via": "x" } } }),
                "user.a-b: the name of an association has letters, digits and _ only",
            ),
        ] {
            assert_eq!(refused(declared), expected);
        }
        let mut both = teams();
        both["team"]["members"]["dominant"] = true.into();
        assert!(refused(both).ends_with("is dominant already"));
    }

    #[test]
    fn a_change_of_the_owner_moves_a_record_from_one_collection_to_the_other() {
        let models = models(&owned()).unwrap();
        let told = |before, after| {
            let memberships = models.associations().memberships(&moved(before, after));
            memberships
                .iter()
                .map(|it| format!("{}/{} {} {}", it.resource, it.id, it.is_new, it.member))
                .collect::<Vec<_>>()
        };
        let owner = |id: i64| json!({ "id": 7, "owner": id });
        assert_eq!(told(owner(1), owner(2)), ["user/2 true 7", "user/1 false 7"]);
        assert_eq!(told(Value::Null, owner(1)), ["user/1 true 7"]);
        assert_eq!(told(owner(1), Value::Null), ["user/1 false 7"]);
        assert!(told(owner(1), owner(1)).is_empty());
    }

    #[test]
    fn both_sides_of_a_many_to_many_speak_of_one_join_that_has_no_path() {
        let models = models(&teams()).unwrap();
        let resources = ["user", "team"].map(name);
        let links =
            [0, 1].map(|it: usize| models.associations().pairs(&resources[it]).next().unwrap());
        assert_eq!(links[0].0, links[1].0);
        assert_ne!(links[0].1, links[1].1);
        assert_eq!(Resource::parse(links[0].0.as_str()), None);
        let (user, team) = (Id::Integer(1), Id::Text("a".into()));
        assert_eq!(links[0].1.pair(&user, &team), links[1].1.pair(&team, &user));
    }
}
