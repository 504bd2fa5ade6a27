//! The declaration of an association in one model, and its combination with the other model.

use std::collections::BTreeMap;

use super::association::{Association, Link};
use super::attribute::is_plain;
use super::pair::Join;
use super::{Attribute, Model};
use crate::change::Resource;
use crate::nearest::hint;

/// The declaration of an association in one model.
pub(super) struct AssociationDeclaration<'a> {
    pub(super) resource: &'a Resource,
    pub(super) name: &'a str,
    pub(super) attribute: &'a Attribute,
    pub(super) declared: &'a BTreeMap<&'a Resource, &'a Model>,
}

impl AssociationDeclaration<'_> {
    /// Combines the declaration with the one on the other side; `None` if the attribute is not an
    /// association.
    pub(super) fn read(&self, model: &Model) -> Result<Option<Association>, InvalidAssociation> {
        self.check(model)?;
        let Attribute { model, collection, via, .. } = self.attribute;
        match (model, collection, via) {
            (Some(target), ..) => self.to_one(target).map(Some),
            (None, Some(target), Some(via)) => self.to_many(target, via).map(Some),
            _ => Ok(None),
        }
    }

    /// Checks the declaration by itself.
    fn check(&self, model: &Model) -> Result<(), InvalidAssociation> {
        let it = self.attribute;
        if !it.is_association() {
            let is_invalid = it.via.is_some() || it.dominant;
            return if is_invalid { Err(InvalidAssociation::NoCollection) } else { Ok(()) };
        }
        if model.is_server_set(self.name) {
            return Err(InvalidAssociation::Own);
        }
        if !is_plain(self.name) {
            return Err(InvalidAssociation::Name);
        }
        match (&it.model, &it.collection) {
            (Some(_), Some(_)) => Err(InvalidAssociation::Both),
            (Some(_), None) if it.via.is_some() || it.dominant => {
                Err(InvalidAssociation::NoCollection)
            }
            (None, Some(_)) if it.via.is_none() => Err(InvalidAssociation::NoVia),
            (None, Some(_)) if !it.has_no_rules() => Err(InvalidAssociation::Rule),
            _ => Ok(()),
        }
    }

    fn to_one(&self, target: &str) -> Result<Association, InvalidAssociation> {
        let (target, model) = self.declared(target)?;
        let required = self.attribute.required;
        let link = Link::Holds { required, collections: self.collections(model) };
        Ok(Association { target, link })
    }

    fn to_many(&self, target: &str, via: &str) -> Result<Association, InvalidAssociation> {
        let (target, model) = self.declared(target)?;
        let back = model.attributes.get(via).ok_or_else(|| {
            let names = model.attributes.keys().map(String::as_str);
            InvalidAssociation::NoAttribute(target.clone(), via.to_owned(), hint(via, names))
        })?;
        let is_back = back.via.as_deref() == Some(self.name);
        let link = if self.is_this_resource(back.model.as_deref()) {
            Link::HeldBy(via.to_owned())
        } else if self.is_this_resource(back.collection.as_deref()) && is_back {
            self.many_to_many(&target, via, back)?
        } else {
            let (resource, name) = (self.resource.clone(), self.name.to_owned());
            return Err(InvalidAssociation::NotBack(target, via.to_owned(), resource, name));
        };
        Ok(Association { target, link })
    }

    fn many_to_many(
        &self,
        target: &Resource,
        via: &str,
        back: &Attribute,
    ) -> Result<Link, InvalidAssociation> {
        if target == self.resource && via == self.name {
            return Err(InvalidAssociation::Itself);
        }
        if self.attribute.dominant && back.dominant {
            return Err(InvalidAssociation::Dominant(target.clone(), via.to_owned()));
        }
        let (join, own) = Join::of((self.resource, self.name), (target, via));
        Ok(Link::Paired { join, own })
    }

    /// Returns the collections of the other side that this attribute makes a record a member of.
    fn collections(&self, other: &Model) -> Vec<String> {
        let leads_here = |it: &Attribute| {
            self.is_this_resource(it.collection.as_deref()) && it.via.as_deref() == Some(self.name)
        };
        let all = other.attributes.iter().filter(|(_, it)| leads_here(it));
        all.map(|(name, _)| name.clone()).collect()
    }

    fn is_this_resource(&self, name: Option<&str>) -> bool {
        name.and_then(Resource::parse).as_ref() == Some(self.resource)
    }

    fn declared(&self, name: &str) -> Result<(Resource, &Model), InvalidAssociation> {
        let known =
            Resource::parse(name).and_then(|it| Some((self.declared.get(&it).copied()?, it)));
        match known {
            Some((model, resource)) => Ok((resource, model)),
            None => {
                let names = self.declared.keys().map(|it| it.as_str());
                Err(InvalidAssociation::NoResource(name.to_owned(), hint(name, names)))
            }
        }
    }
}

/// The error of an invalid declaration of an association.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAssociation {
    /// It has both `model` and `collection`.
    #[error("it is either a model or a collection")]
    Both,
    /// It has `via` or `dominant`, but is not a collection.
    #[error("only a collection has via and dominant")]
    NoCollection,
    /// It is a collection without `via`.
    #[error("a collection needs via: the attribute on the other side")]
    NoVia,
    /// It is a collection and has rules for values.
    #[error("a collection is not stored, so it has no rules but collection, via and dominant")]
    Rule,
    /// The attribute is the key or a timestamp.
    #[error("this is the server's own attribute")]
    Own,
    /// Its name cannot be in a path or in an index.
    #[error("the name of an association has letters, digits and _ only")]
    Name,
    /// The other side is not declared.
    #[error("no resource {0} is declared{1}")]
    NoResource(String, String),
    /// The attribute that `via` names does not exist.
    #[error("{0} has no attribute {1}{2}")]
    NoAttribute(Resource, String, String),
    /// The attribute that `via` names does not lead back.
    #[error(
        "{0}.{1} does not lead back: it has to be {{model: {2}}} or {{collection: {2}, via: {3}}}"
    )]
    NotBack(Resource, String, Resource, String),
    /// `via` names the collection itself.
    #[error("via has to be another attribute than the collection itself")]
    Itself,
    /// Both sides of a many-to-many are dominant.
    #[error("{0}.{1} is dominant already")]
    Dominant(Resource, String),
    /// A name in the default `populate` is not an association.
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
    fn invalid_associations_are_refused_with_a_reason() {
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
