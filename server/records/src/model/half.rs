//! What one model says of an association, and whether it fits what the other one says.

use std::collections::BTreeMap;

use super::association::{Association, Link};
use super::attribute::is_plain;
use super::pair::Join;
use super::{Attribute, Model};
use crate::change::Resource;
use crate::nearest::hint;

/// What one model says of an association.
pub(super) struct Half<'a> {
    pub(super) resource: &'a Resource,
    pub(super) name: &'a str,
    pub(super) attribute: &'a Attribute,
    pub(super) declared: &'a BTreeMap<&'a Resource, &'a Model>,
}

impl Half<'_> {
    /// What it comes to with the other half; `None` if it is an attribute like any other.
    pub(super) fn read(&self, model: &Model) -> Result<Option<Association>, Unfit> {
        self.check(model)?;
        let Attribute { model, collection, via, .. } = self.attribute;
        match (model, collection, via) {
            (Some(target), ..) => self.holding(target).map(Some),
            (None, Some(target), Some(via)) => self.collecting(target, via).map(Some),
            _ => Ok(None),
        }
    }

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

    fn holding(&self, target: &str) -> Result<Association, Unfit> {
        let (target, model) = self.declared(target)?;
        let required = self.attribute.required;
        let link = Link::Holds { required, collections: self.collections(model) };
        Ok(Association { target, link })
    }

    fn collecting(&self, target: &str, via: &str) -> Result<Association, Unfit> {
        let (target, model) = self.declared(target)?;
        let back = model.attributes.get(via).ok_or_else(|| {
            let names = model.attributes.keys().map(String::as_str);
            Unfit::NoAttribute(target.clone(), via.to_owned(), hint(via, names))
        })?;
        let is_back = back.via.as_deref() == Some(self.name);
        let link = if self.is_me(back.model.as_deref()) {
            Link::HeldBy(via.to_owned())
        } else if self.is_me(back.collection.as_deref()) && is_back {
            self.paired(&target, via, back)?
        } else {
            let (resource, name) = (self.resource.clone(), self.name.to_owned());
            return Err(Unfit::NotBack(target, via.to_owned(), resource, name));
        };
        Ok(Association { target, link })
    }

    fn paired(&self, target: &Resource, via: &str, back: &Attribute) -> Result<Link, Unfit> {
        if target == self.resource && via == self.name {
            return Err(Unfit::Itself);
        }
        if self.attribute.dominant && back.dominant {
            return Err(Unfit::Dominant(target.clone(), via.to_owned()));
        }
        let (join, own) = Join::of((self.resource, self.name), (target, via));
        Ok(Link::Paired { join, own })
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

/// Why what is declared of an association cannot be.
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
    /// Its name cannot stand in a path, or in an index.
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::model::associations::tests::{models, teams};

    fn refused(declared: Value) -> String {
        models(&declared).unwrap_err()
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
}
