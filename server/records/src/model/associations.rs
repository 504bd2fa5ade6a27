//! All associations of the declared models.

use std::collections::BTreeMap;

use super::Model;
use super::association::{Association, Link};
use super::declaration::{AssociationDeclaration, InvalidAssociation};
use super::membership::Membership;
use super::pair::{Join, Side};
use crate::change::{Change, Resource};
use crate::criteria::{Collection, CollectionKey};
use crate::nearest::hint;

/// The associations of all declared models.
#[derive(Debug, Clone, Default)]
pub struct Associations {
    of: BTreeMap<Resource, BTreeMap<String, Association>>,
    joins: BTreeMap<Resource, Join>,
}

impl Associations {
    /// Combines the declarations of all models. The error has the resource and the attribute of an
    /// invalid declaration.
    pub(super) fn read(
        declared: &BTreeMap<&Resource, &Model>,
    ) -> Result<Self, (Resource, String, InvalidAssociation)> {
        let mut associations = Self::default();
        for (&resource, &model) in declared {
            let located = |name: &str, error| (resource.clone(), name.to_owned(), error);
            for (name, attribute) in &model.attributes {
                let declaration = AssociationDeclaration { resource, name, attribute, declared };
                let association = declaration.read(model).map_err(|error| located(name, error))?;
                if let Some(association) = association {
                    associations.add(resource, name, association);
                }
            }
            let populate = associations.check_populate(resource, model);
            populate.map_err(|error| located("find.populate", error))?;
        }
        Ok(associations)
    }

    fn add(&mut self, resource: &Resource, name: &str, association: Association) {
        if let Link::Paired { join, .. } = &association.link {
            self.joins.insert(join.resource(), join.clone());
        }
        self.of.entry(resource.clone()).or_default().insert(name.to_owned(), association);
    }

    fn check_populate(&self, resource: &Resource, model: &Model) -> Result<(), InvalidAssociation> {
        let known = || self.of(resource).map(|(name, _)| name.as_str());
        let mut names = model.find.populate.names();
        match names.find(|name| !known().any(|known| known == *name)) {
            Some(name) => Err(InvalidAssociation::Populate(name.clone(), hint(name, known()))),
            None => Ok(()),
        }
    }

    /// Returns the joins and their models.
    pub(super) fn joins(&self) -> impl Iterator<Item = (Resource, Model)> {
        self.joins.keys().map(|join| (join.clone(), Join::model()))
    }

    /// Returns the associations of a resource, by attribute.
    pub fn of(&self, resource: &Resource) -> impl Iterator<Item = (&String, &Association)> {
        self.of.get(resource).into_iter().flatten()
    }

    /// Returns the association with this name, in upper or lower case.
    pub fn named(&self, resource: &Resource, name: &str) -> Option<(&str, &Association)> {
        let mut all = self.of(resource);
        let (name, association) = all.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some((name, association))
    }

    /// Returns the resource of the members of a collection.
    pub fn target_of(&self, membership: &Membership) -> Option<&Resource> {
        let association = self.of.get(&membership.resource)?.get(&membership.attribute)?;
        Some(&association.target)
    }

    /// Returns the resource of the pairs of a collection.
    pub fn join_of(&self, collection: &Collection) -> Option<Resource> {
        let CollectionKey { resource, attribute, .. } = &collection.of;
        match &self.of.get(&Resource::parse(resource)?)?.get(attribute)?.link {
            Link::Paired { join, .. } => Some(join.resource()),
            Link::Holds { .. } | Link::HeldBy(_) => None,
        }
    }

    /// Returns the memberships that a change adds, and then those that it removes.
    pub fn memberships(&self, change: &Change) -> Vec<Membership> {
        if change.published {
            return Vec::new();
        }
        if let Some(join) = self.joins.get(&change.resource) {
            return join.memberships(change);
        }
        let all = self.of(&change.resource);
        all.flat_map(|(name, association)| association.memberships(name, change)).collect()
    }

    /// Whether changes of a resource may have [memberships](Self::memberships).
    pub fn may_have_memberships(&self, resource: &Resource) -> bool {
        self.joins.contains_key(resource) || self.of.contains_key(resource)
    }

    /// Returns the attributes that may hold the id of a record of this resource and are not
    /// required: resource and attribute.
    pub fn holders<'a>(
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

    /// Returns the joins whose pairs may have records of this resource, and their side in them.
    pub fn pairs(&self, resource: &Resource) -> impl Iterator<Item = (Resource, Side)> {
        self.of(resource).filter_map(|(_, association)| match &association.link {
            Link::Paired { join, own } => Some((join.resource(), *own)),
            _ => None,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::change::{Id, Verb};
    use crate::model::Models;

    pub(in crate::model) fn models(declared: &Value) -> Result<Models, String> {
        let mut models = Models::default();
        for (name, attributes) in declared.as_object().unwrap() {
            let model = json!({ "attributes": attributes });
            models.declare(name, serde_json::from_value(model).unwrap()).unwrap();
        }
        models.associate().map(|()| models).map_err(|error| error.to_string())
    }

    fn name(name: &str) -> Resource {
        Resource::parse(name).unwrap()
    }

    fn moved(before: Value, after: Value) -> Change {
        let record = |value: &Value| value.as_object().cloned().map(Arc::new);
        Change {
            verb: Verb::Update,
            before: record(&before),
            after: record(&after),
            ..Change::synthetic_destroy(&name("pet"), &Id::Integer(7))
        }
    }

    fn owned() -> Value {
        json!({ "user": { "pets": { "collection": "pet", "via": "owner" } },
                "pet": { "owner": { "model": "user" } } })
    }

    pub(in crate::model) fn teams() -> Value {
        json!({ "user": { "teams": { "collection": "team", "via": "members", "dominant": true } },
                "team": { "members": { "collection": "user", "via": "teams" } } })
    }

    #[test]
    fn change_of_the_owner_moves_a_record_from_one_collection_to_the_other() {
        let models = models(&owned()).unwrap();
        let described = |before, after| {
            let memberships = models.associations().memberships(&moved(before, after));
            memberships
                .iter()
                .map(|it| format!("{}/{} {} {}", it.resource, it.id, it.is_new, it.member))
                .collect::<Vec<_>>()
        };
        let owner = |id: i64| json!({ "id": 7, "owner": id });
        assert_eq!(described(owner(1), owner(2)), ["user/2 true 7", "user/1 false 7"]);
        assert_eq!(described(Value::Null, owner(1)), ["user/1 true 7"]);
        assert_eq!(described(owner(1), Value::Null), ["user/1 false 7"]);
        assert!(described(owner(1), owner(1)).is_empty());
    }

    #[test]
    fn both_sides_of_a_many_to_many_share_one_join_without_a_path() {
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
