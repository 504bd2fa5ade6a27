//! The models of a server.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use super::attribute::is_plain;
use super::undeclared::{ALTERNATIVE, UndeclaredKeys};
use super::{Associations, Ids, Model, Unfit, Violation};
use crate::change::{Attributes, Resource, is_attribute_name};
use crate::criteria::{Bad, Criteria, Language, Parameters};

/// What is declared, and what becomes of the rest.
#[derive(Debug, Clone, Default)]
pub struct Models {
    declared: HashMap<Resource, Arc<Model>>,
    /// By the name in urls, where that is another.
    plurals: HashMap<Resource, Resource>,
    /// Of resources that are not declared.
    other: Arc<Model>,
    undeclared: Undeclared,
    /// The keys of the resources that are not declared.
    keys: Arc<UndeclaredKeys>,
    associations: Arc<Associations>,
    /// Of the resources that pairs of a many-to-many association are records of. No path leads to one.
    joins: HashMap<Resource, Arc<Model>>,
}

/// What becomes of resources that are not declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Undeclared {
    /// They are there, and take what comes.
    #[default]
    Allow,
    /// They are not there: 404.
    Refuse,
}

impl Models {
    /// Declares a resource; what was declared of it before is forgotten.
    pub fn declare(&mut self, name: &str, mut model: Model) -> Result<(), Undeclarable> {
        let resource = Resource::parse(name);
        let resource = resource.ok_or_else(|| Undeclarable::Name(name.to_owned()))?;
        if let Some(plural) = &model.plural {
            let name = Resource::parse(plural);
            let name = name.ok_or_else(|| Undeclarable::Name(plural.clone()))?;
            let owner = self.plurals.entry(name).or_insert_with(|| resource.clone());
            if *owner != resource {
                return Err(Undeclarable::Plural(plural.clone(), owner.clone()));
            }
        }
        if let Some(name) = model.indexed().find(|name| !is_plain(name)) {
            return Err(Undeclarable::Index(name.to_owned()));
        }
        if let Some(name) = model.names().find(|name| !is_attribute_name(name)) {
            return Err(Undeclarable::AttributeName(resource, name.to_owned()));
        }
        for (name, attribute) in &model.attributes {
            let taken = attribute.default.clone().map(|default| attribute.take(name, default));
            if let Some(Err(wrong)) = taken {
                return Err(Undeclarable::Default(resource, wrong));
            }
        }
        let unasked = Criteria::read_for(&model, Parameters::default(), Language::Current);
        if let Err(bad) = unasked {
            return Err(Undeclarable::Where(resource, bad));
        }
        if model.access.lacks_owner() {
            return Err(Undeclarable::Owner(resource));
        }
        if model.access.assigns_nothing() {
            return Err(Undeclarable::Assign(resource));
        }
        refuse_revealing(&resource, &model)?;
        if model.access.hides_records() {
            // Numbers in a row would tell how many records others have made, and a refused id which.
            model.ids = match model.ids {
                Ids::Any | Ids::Uuid => Ids::Uuid,
                Ids::Integer | Ids::Client => return Err(Undeclarable::TellingIds(resource)),
            };
            if model.upsert {
                return Err(Undeclarable::TellingUpsert(resource));
            }
        }
        self.declared.insert(resource, Arc::new(model));
        Ok(())
    }

    /// Puts together what the declared say of each other. A server does it when it starts.
    pub fn associate(&mut self) -> Result<(), Undeclarable> {
        let declared: BTreeMap<_, _> = self.declared().collect();
        let read = Associations::read(&declared).map_err(|(resource, attribute, unfit)| {
            Undeclarable::Association(resource, attribute, unfit)
        })?;
        self.joins = read.joins().map(|(join, model)| (join, Arc::new(model))).collect();
        self.associations = Arc::new(read);
        Ok(())
    }

    /// Which records belong together.
    pub fn associations(&self) -> &Associations {
        &self.associations
    }

    /// Says what becomes of those that are not declared.
    pub fn undeclared(&mut self, undeclared: Undeclared) {
        self.undeclared = undeclared;
    }

    /// Whether a resource is declared. Associations declare the pairs of a many-to-many.
    pub fn is_declared(&self, resource: &Resource) -> bool {
        self.declared.contains_key(resource) || self.joins.contains_key(resource)
    }

    /// What the records of a resource are like; `None` if it is not there.
    pub fn of(&self, resource: &Resource) -> Option<Arc<Model>> {
        let known = self.declared.get(resource).or_else(|| self.joins.get(resource));
        match (known, self.undeclared) {
            (Some(model), _) => Some(Arc::clone(model)),
            (None, Undeclared::Allow) if resource.has_to_be_declared() => None,
            (None, Undeclared::Allow) if self.keys.is_alternative(resource) => {
                Some(underscore_id_model())
            }
            (None, Undeclared::Allow) => Some(Arc::clone(&self.other)),
            (None, Undeclared::Refuse) => None,
        }
    }

    /// Takes over the keys that the engine stores. A server does it when it starts.
    pub fn learn_keys(&mut self, keys: HashMap<Resource, String>) {
        self.keys = Arc::new(UndeclaredKeys::new(keys));
    }

    /// The undeclared resources that have had a record.
    pub fn undeclared_resources(&self) -> HashSet<Resource> {
        let mut resources = self.keys.resources();
        resources.retain(|resource| !self.is_declared(resource));
        resources
    }

    /// Learns the name of the key from the first record of an undeclared resource, before its
    /// create. `false` if the record has an invalid id.
    pub fn learn_key(&self, resource: &Resource, record: &Attributes) -> bool {
        self.is_declared(resource) || self.keys.learn(resource, record)
    }

    /// The resource that has this name in urls. One with a plural has no other.
    pub fn named(&self, name: Resource) -> Option<Resource> {
        if let Some(resource) = self.plurals.get(&name) {
            return Some(resource.clone());
        }
        self.of(&name).filter(|model| model.plural.is_none()).map(|_| name)
    }

    /// What becomes of those that are not declared.
    pub fn others(&self) -> Undeclared {
        self.undeclared
    }

    /// Whether there may be records of a resource that not everyone may know of.
    pub fn hide_records_of(&self, resource: &Resource) -> bool {
        self.of(resource).is_some_and(|model| model.access.hides_records())
    }

    /// Each that there are records of, whether they can be reached or not.
    pub fn stored(&self) -> impl Iterator<Item = (&Resource, &Model)> {
        let joins = self.joins.iter().map(|(resource, model)| (resource, &**model));
        self.declared().chain(joins)
    }

    /// Each that is declared, in no particular order.
    pub fn declared(&self) -> impl Iterator<Item = (&Resource, &Model)> {
        self.declared.iter().map(|(resource, model)| (resource, &**model))
    }
}

/// Somebody who may create records finds out by trying what others have, unless they may read those as well.
fn refuse_revealing(resource: &Resource, model: &Model) -> Result<(), Undeclarable> {
    let resource = || resource.clone();
    let mut unique = model.attributes.iter().filter(|(_, attribute)| attribute.unique);
    match unique.next() {
        _ if model.reveals => Ok(()),
        Some((name, _)) if model.access.reveals_values() => {
            Err(Undeclarable::RevealsValues(resource(), name.clone()))
        }
        _ if model.ids == Ids::Client && model.access.reveals_ids() => {
            Err(Undeclarable::RevealsIds(resource(), model.key.clone()))
        }
        _ => Ok(()),
    }
}

/// Why a resource cannot be declared so.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Undeclarable {
    /// It cannot be the name of a resource.
    #[error(
        "{0:?} cannot be a resource: a name is [a-z][a-z0-9_-]*, and not a route of the server"
    )]
    Name(String),
    /// The plural is another's.
    #[error("the plural {0:?} is that of {1}")]
    Plural(String, Resource),
    /// Two names that differ in nothing but case.
    #[error("{0} is declared twice: names of resources are the same in upper and lower case")]
    Twice(Resource),
    /// It cannot be the name of an attribute.
    #[error("{0}: {1:?} cannot be an attribute: its name has control characters")]
    AttributeName(Resource, String),
    /// A record that says nothing of an attribute could not be created.
    #[error("{0}.{name}: its default is not what it allows: {1}", name = .1.attribute)]
    Default(Resource, Violation),
    /// A read that selects nothing would be refused.
    #[error("{0}.find.where: {1}")]
    Where(Resource, Bad),
    /// No index can be made of an attribute with such a name.
    #[error(
        "{0:?} can be neither unique nor indexed: its name has more than letters, digits and _"
    )]
    Index(String),
    /// Access goes by an owner, but which attribute has it is not said.
    #[error("access to {0} goes by its owner, and `owner` does not say which attribute that is")]
    Owner(Resource),
    /// `assign` speaks of an owner that is not there, or leaves it to the owner.
    #[error(
        "access.assign of {0}: it names those who may set another owner than themselves (everyone, signedIn, \
         {{role: name}}), so access needs an `owner`, and `owner` cannot be one of them"
    )]
    Assign(Resource),
    /// The refusal of a value that is taken would tell who has it.
    #[error(
        "{0}.{1} is unique, and some may create records of {0} who may not read all: a refused value (E_UNIQUE) \
         tells them what others have; let fewer create or more read, or say `reveals: true` in {0} to accept it"
    )]
    RevealsValues(Resource, String),
    /// The same of an id.
    #[error(
        "{0}.{1} is given by clients (ids: client), and some may create records of {0} who may not read all: a \
         refused id (E_EXISTS) tells them which there are; use `ids: uuid`, or say `reveals: true` in {0} to accept it"
    )]
    RevealsIds(Resource, String),
    /// Ids would tell of records that their caller may not know of.
    #[error("some may not know of all records of {0}: their ids have to be UUIDs (ids: uuid)")]
    TellingIds(Resource),
    /// So would the answer to a `PUT`.
    #[error("some may not know of all records of {0}: a PUT cannot create them (upsert: false)")]
    TellingUpsert(Resource),
    /// An association that comes to nothing.
    #[error("{0}.{1}: {2}")]
    Association(Resource, String, Unfit),
}

/// The model of undeclared resources whose key is `_id`.
fn underscore_id_model() -> Arc<Model> {
    static MODEL: LazyLock<Arc<Model>> =
        LazyLock::new(|| Arc::new(Model { key: ALTERNATIVE.to_owned(), ..Model::default() }));
    Arc::clone(&MODEL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Attribute;

    fn name(name: &str) -> Resource {
        Resource::parse(name).unwrap()
    }

    #[test]
    fn a_resource_with_a_plural_is_found_by_it_alone() {
        let mut models = Models::default();
        let people = Model { plural: Some("people".to_owned()), ..Model::default() };
        assert_eq!(models.declare("person", people.clone()), Ok(()));
        assert!(matches!(models.declare("human", people), Err(Undeclarable::Plural(..))));
        assert!(matches!(models.declare("7up", Model::default()), Err(Undeclarable::Name(_))));
        assert_eq!(models.named(name("People")), Some(name("person")));
        assert_eq!(models.named(name("person")), None);
        assert_eq!(models.named(name("todo")), Some(name("todo")));
    }

    #[test]
    fn attribute_with_a_control_character_in_its_name_cannot_be_declared() {
        let named = |name: &str| Model::default().attribute(name, Attribute::default());
        let key = Model { key: "id\u{7f}".to_owned(), ..Model::default() };
        for model in [named("a\u{0}"), named("a\n"), key] {
            let refused = Models::default().declare("todo", model);
            assert!(matches!(refused, Err(Undeclarable::AttributeName(..))), "{refused:?}");
        }
        assert_eq!(Models::default().declare("todo", named("a\"b.\\é")), Ok(()));
    }

    #[test]
    fn what_is_not_declared_may_be_refused() {
        let mut models = Models::default();
        models.declare("todo", Model::default()).unwrap();
        models.undeclared(Undeclared::Refuse);
        assert!(models.of(&name("todo")).is_some());
        assert!(models.of(&name("cart")).is_none());
        assert_eq!(models.named(name("cart")), None);
    }
}
