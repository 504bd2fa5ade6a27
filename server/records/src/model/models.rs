//! The models of a server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::HashMap;
use serde::Deserialize;

use super::attribute::is_plain;
use super::undeclared::{ALTERNATIVE, UndeclaredKeys};
use super::{Associations, Conventions, Ids, InvalidAssociation, Model, Violation};
use crate::change::{Attributes, Resource, is_attribute_name};
use crate::criteria::{Criteria, CriteriaError, Language, Parameters};

/// The declared models, and the handling of undeclared resources.
#[derive(Debug, Clone, Default)]
pub struct Models {
    declared: BTreeMap<Resource, Arc<Model>>,
    /// The resources that have a plural, by their plural.
    plurals: HashMap<Resource, Resource>,
    /// The defaults of declared resources.
    defaults: Arc<Model>,
    others: OtherModels,
    undeclared: Undeclared,
    /// The keys of undeclared resources.
    keys: Arc<UndeclaredKeys>,
    associations: Arc<Associations>,
    /// The models of the pairs of many-to-many associations. No path leads to these resources.
    joins: BTreeMap<Resource, Arc<Model>>,
}

/// The models of undeclared resources.
#[derive(Debug, Clone)]
struct OtherModels {
    model: Arc<Model>,
    /// The same for resources whose key is `_id`.
    alternative: Arc<Model>,
}

/// How undeclared resources are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Undeclared {
    /// They exist, and accept all records.
    #[default]
    Allow,
    /// They do not exist: 404.
    Refuse,
}

impl Default for OtherModels {
    fn default() -> Self {
        Self::new(Model::default())
    }
}

impl OtherModels {
    fn new(model: Model) -> Self {
        let alternative = Arc::new(Model { key: ALTERNATIVE.to_owned(), ..model.clone() });
        Self { model: Arc::new(model), alternative }
    }
}

impl Models {
    /// Sets what resources have unless they say otherwise. Undeclared resources have no declared
    /// attributes, and their key is `id` or `_id`. Resources that are declared already stay as they
    /// are.
    pub fn set_defaults(&mut self, model: Model) -> Result<(), ModelError> {
        let undeclared = Model::default();
        let (key, attributes) = (undeclared.key, undeclared.attributes);
        let others = Model { key, attributes, schema: None, plural: None, ..model.clone() };
        self.others = OtherModels::new(checked(&Resource::internal("resource_defaults"), others)?);
        self.defaults = Arc::new(model);
        Ok(())
    }

    /// Returns what a resource has unless it says otherwise.
    pub fn defaults(&self) -> &Model {
        &self.defaults
    }

    /// Sets the conventions of all models. A server does it when it starts.
    pub fn follow(&mut self, conventions: Conventions) {
        for model in self.declared.values_mut() {
            Arc::make_mut(model).conventions = conventions;
        }
        self.others = OtherModels::new(Model { conventions, ..Model::clone(&self.others.model) });
    }

    /// Declares a resource. This replaces an earlier declaration of it.
    pub fn declare(&mut self, name: &str, model: Model) -> Result<(), ModelError> {
        let resource = Resource::parse(name);
        let resource = resource.ok_or_else(|| ModelError::Name(name.to_owned()))?;
        if let Some(plural) = &model.plural {
            let name = Resource::parse(plural);
            let name = name.ok_or_else(|| ModelError::Name(plural.clone()))?;
            let owner = self.plurals.entry(name).or_insert_with(|| resource.clone());
            if *owner != resource {
                return Err(ModelError::Plural(plural.clone(), owner.clone()));
            }
        }
        let model = checked(&resource, model)?;
        self.declared.insert(resource, Arc::new(model));
        Ok(())
    }

    /// Combines the associations of all declared models. A server does it when it starts.
    pub fn associate(&mut self) -> Result<(), ModelError> {
        let declared: BTreeMap<_, _> = self.declared().collect();
        let read = Associations::read(&declared).map_err(|(resource, attribute, error)| {
            ModelError::Association(resource, attribute, error)
        })?;
        self.joins = read.joins().map(|(join, model)| (join, Arc::new(model))).collect();
        self.associations = Arc::new(read);
        self.set_target_ids();
        // Only now all types are known, which the values in default filters must have.
        self.declared().try_for_each(|(resource, model)| check_find(resource, model))
    }

    /// Tells each attribute with an id which ids there are in the other resource.
    fn set_target_ids(&mut self) {
        let ids: HashMap<_, _> =
            self.declared().map(|(name, model)| (name.clone(), model.id_source())).collect();
        let of = |target: &str| Resource::parse(target).and_then(|it| ids.get(&it).copied());
        for model in self.declared.values_mut().map(Arc::make_mut) {
            for attribute in model.attributes.values_mut() {
                attribute.target_ids = attribute.model.as_deref().and_then(of).unwrap_or_default();
            }
        }
    }

    /// Returns the associations of all declared models.
    pub fn associations(&self) -> &Associations {
        &self.associations
    }

    /// Sets how undeclared resources are handled.
    pub fn undeclared(&mut self, undeclared: Undeclared) {
        self.undeclared = undeclared;
    }

    /// Whether a resource is declared. Associations declare the pairs of a many-to-many.
    pub fn is_declared(&self, resource: &Resource) -> bool {
        self.declared.contains_key(resource) || self.joins.contains_key(resource)
    }

    /// Returns the model of a resource; `None` if the resource does not exist.
    pub fn of(&self, resource: &Resource) -> Option<Arc<Model>> {
        let known = self.declared.get(resource).or_else(|| self.joins.get(resource));
        match (known, self.undeclared) {
            (Some(model), _) => Some(Arc::clone(model)),
            (None, Undeclared::Allow) if resource.has_to_be_declared() => None,
            (None, Undeclared::Allow) if self.keys.is_alternative(resource) => {
                Some(Arc::clone(&self.others.alternative))
            }
            (None, Undeclared::Allow) => Some(Arc::clone(&self.others.model)),
            (None, Undeclared::Refuse) => None,
        }
    }

    /// Sets the keys that the engine stores. A server does it when it starts.
    pub fn learn_keys(&mut self, keys: BTreeMap<Resource, String>) {
        self.keys = Arc::new(UndeclaredKeys::new(keys));
    }

    /// Returns the undeclared resources that have had a record.
    pub fn undeclared_resources(&self) -> BTreeSet<Resource> {
        let mut resources = self.keys.resources();
        resources.retain(|resource| !self.is_declared(resource));
        resources
    }

    /// Learns the name of the key from the first record of an undeclared resource, before its
    /// create. Returns `false` if the record has an invalid id.
    pub fn learn_key(&self, resource: &Resource, record: &Attributes) -> bool {
        self.is_declared(resource) || self.keys.learn(resource, record)
    }

    /// Returns the resource that has this name in urls. A resource with a plural has only the
    /// plural.
    pub fn named(&self, name: Resource) -> Option<Resource> {
        if let Some(resource) = self.plurals.get(&name) {
            return Some(resource.clone());
        }
        self.of(&name).filter(|model| model.plural.is_none()).map(|_| name)
    }

    /// Returns how undeclared resources are handled.
    pub fn others(&self) -> Undeclared {
        self.undeclared
    }

    /// Whether a resource may have records that some callers must not know of.
    pub fn hide_records_of(&self, resource: &Resource) -> bool {
        self.of(resource).is_some_and(|model| model.access.hides_records())
    }

    /// Returns each model that is stored, also those of pairs, to which no path leads.
    pub fn stored(&self) -> impl Iterator<Item = (&Resource, &Model)> {
        let joins = self.joins.iter().map(|(resource, model)| (resource, &**model));
        self.declared().chain(joins)
    }

    /// Returns each declared model, in the order of their names.
    pub fn declared(&self) -> impl Iterator<Item = (&Resource, &Model)> {
        self.declared.iter().map(|(resource, model)| (resource, &**model))
    }
}

/// Checks a model by itself. A model that hides records gets ids that do not reveal them.
fn checked(resource: &Resource, mut model: Model) -> Result<Model, ModelError> {
    if let Some(name) = model.indexed().find(|name| !is_plain(name)) {
        return Err(ModelError::Index(name.to_owned()));
    }
    if let Some(name) = model.names().find(|name| !is_attribute_name(name)) {
        return Err(ModelError::AttributeName(resource.clone(), name.to_owned()));
    }
    for (name, attribute) in &model.attributes {
        let taken = attribute
            .default
            .clone()
            .map(|default| attribute.to_stored(name, default, model.conventions));
        if let Some(Err(wrong)) = taken {
            return Err(ModelError::Default(resource.clone(), wrong));
        }
    }
    check_find(resource, &model)?;
    if model.access.lacks_owner() {
        return Err(ModelError::Owner(resource.clone()));
    }
    if model.access.has_invalid_assign() {
        return Err(ModelError::Assign(resource.clone()));
    }
    refuse_revealing(resource, &model)?;
    if model.access.hides_records() {
        // Consecutive numbers would show how many records others have made, and a refused id
        // would show which.
        model.ids = match model.ids {
            Ids::Conventional | Ids::Any | Ids::Uuid => Ids::Uuid,
            Ids::Integer | Ids::Client => return Err(ModelError::GuessableIds(resource.clone())),
        };
        if model.upsert {
            return Err(ModelError::RevealsByUpsert(resource.clone()));
        }
    }
    Ok(model)
}

/// Checks the defaults of a read, without which a read without a filter would be refused.
fn check_find(resource: &Resource, model: &Model) -> Result<(), ModelError> {
    let defaults = Criteria::read_for(model, Parameters::default(), Language::Current);
    defaults.map(drop).map_err(|error| ModelError::Where(resource.clone(), error))
}

/// Refuses models that reveal hidden records: a caller who may create records could try ids or
/// unique values of others, and would see from the errors which exist.
fn refuse_revealing(resource: &Resource, model: &Model) -> Result<(), ModelError> {
    let resource = || resource.clone();
    let mut unique = model.attributes.iter().filter(|(_, attribute)| attribute.unique);
    match unique.next() {
        _ if model.reveals => Ok(()),
        Some((name, _)) if model.access.reveals_values() => {
            Err(ModelError::RevealsValues(resource(), name.clone()))
        }
        _ if model.ids == Ids::Client && model.access.reveals_ids() => {
            Err(ModelError::RevealsIds(resource(), model.key.clone()))
        }
        _ => Ok(()),
    }
}

/// The error of a declaration that is not valid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The name of the resource is not valid.
    #[error(
        "{0:?} cannot be a resource: a name is [a-z][a-z0-9_-]*, and not a route of the server"
    )]
    Name(String),
    /// The plural belongs to another resource.
    #[error("the plural {0:?} is that of {1}")]
    Plural(String, Resource),
    /// Two names differ only in case.
    #[error("{0} is declared twice: names of resources are the same in upper and lower case")]
    Twice(Resource),
    /// The name of an attribute is not valid.
    #[error("{0}: {1:?} cannot be an attribute: its name has control characters")]
    AttributeName(Resource, String),
    /// The default of an attribute breaks its own rules, so a record without it could not be
    /// created.
    #[error("{0}.{name}: its default is not what it allows: {1}", name = .1.attribute)]
    Default(Resource, Violation),
    /// The default filter is not valid, so a read without a filter would be refused.
    #[error("{0}.find.where: {1}")]
    Where(Resource, CriteriaError),
    /// The name of an attribute cannot be in an index.
    #[error(
        "{0:?} can be neither unique nor indexed: its name has more than letters, digits and _"
    )]
    Index(String),
    /// Access rules name the owner, but the attribute with the owner is not set.
    #[error("access to {0} goes by its owner, and `owner` does not say which attribute that is")]
    Owner(Resource),
    /// `assign` is set although there is no owner, or it is granted to the owner.
    #[error(
        "access.assign of {0}: it names those who may set another owner than themselves (everyone, signedIn, \
         {{role: name}}), so access needs an `owner`, and `owner` cannot be one of them"
    )]
    Assign(Resource),
    /// The refusal of a unique value that is taken would reveal hidden records.
    #[error(
        "{0}.{1} is unique, and some may create records of {0} who may not read all: a refused value (E_UNIQUE) \
         tells them what others have; let fewer create or more read, or say `reveals: true` in {0} to accept it"
    )]
    RevealsValues(Resource, String),
    /// The refusal of an id that is taken would reveal hidden records.
    #[error(
        "{0}.{1} is given by clients (ids: client), and some may create records of {0} who may not read all: a \
         refused id (E_EXISTS) tells them which there are; use `ids: uuid`, or say `reveals: true` in {0} to accept it"
    )]
    RevealsIds(Resource, String),
    /// Ids would reveal hidden records.
    #[error("some may not know of all records of {0}: their ids have to be UUIDs (ids: uuid)")]
    GuessableIds(Resource),
    /// The answer to a `PUT` would reveal hidden records.
    #[error("some may not know of all records of {0}: a PUT cannot create them (upsert: false)")]
    RevealsByUpsert(Resource),
    /// An association is not valid.
    #[error("{0}.{1}: {2}")]
    Association(Resource, String, InvalidAssociation),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Attribute;

    fn name(name: &str) -> Resource {
        Resource::parse(name).unwrap()
    }

    #[test]
    fn resource_with_a_plural_is_found_only_by_the_plural() {
        let mut models = Models::default();
        let people = Model { plural: Some("people".to_owned()), ..Model::default() };
        assert_eq!(models.declare("person", people.clone()), Ok(()));
        assert!(matches!(models.declare("human", people), Err(ModelError::Plural(..))));
        assert!(matches!(models.declare("7up", Model::default()), Err(ModelError::Name(_))));
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
            assert!(matches!(refused, Err(ModelError::AttributeName(..))), "{refused:?}");
        }
        assert_eq!(Models::default().declare("todo", named("a\"b.\\é")), Ok(()));
    }

    #[test]
    fn undeclared_resources_have_the_defaults_but_no_attributes() {
        let mut models = Models::default();
        let defaults = Model { key: "uid".to_owned(), upsert: true, ..Model::default() };
        let defaults = defaults.attribute("tenant", Attribute::default());
        models.set_defaults(defaults).unwrap();
        models.declare("todo", Model::default()).unwrap();
        models.follow(Conventions::Sails);
        let cart = models.of(&name("cart")).unwrap();
        assert_eq!((&*cart.key, cart.upsert, cart.attributes.len()), ("id", true, 0));
        models.learn_keys([(name("mongo"), "_id".to_owned())].into());
        let mongo = models.of(&name("mongo")).unwrap();
        assert_eq!((&*mongo.key, mongo.upsert), ("_id", true));
        let todo = models.of(&name("todo")).unwrap();
        assert!(!todo.upsert);
        assert_eq!([&cart, &mongo, &todo].map(|it| it.conventions), [Conventions::Sails; 3]);
    }

    #[test]
    fn defaults_that_reveal_hidden_records_are_refused() {
        let access = serde_json::from_value(serde_json::json!({ "owner": "by", "read": "owner" }));
        let model = Model { access: access.unwrap(), ids: Ids::Integer, ..Model::default() };
        let refused = Models::default().set_defaults(model);
        assert!(matches!(refused, Err(ModelError::GuessableIds(_))), "{refused:?}");
    }

    #[test]
    fn undeclared_resources_can_be_refused() {
        let mut models = Models::default();
        models.declare("todo", Model::default()).unwrap();
        models.undeclared(Undeclared::Refuse);
        assert!(models.of(&name("todo")).is_some());
        assert!(models.of(&name("cart")).is_none());
        assert_eq!(models.named(name("cart")), None);
    }
}
