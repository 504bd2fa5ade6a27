//! Rooms: the listeners of a resource, of a record or of a scope.

use std::fmt;
use std::sync::Arc;

use super::record::Id;
use super::resource::Resource;
use crate::criteria::Scope;

/// The listeners of a resource, of one record of it, or of the records in a [`Scope`]. Written
/// `todo`, `todo/7` and `todo?…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Room {
    /// The resource.
    pub resource: Resource,
    /// The record, in a room of one record.
    pub id: Option<Id>,
    /// The encoded [`Scope`], in a room of criteria.
    pub scope: Option<Arc<str>>,
}

/// The maximum bytes of a scope in the name of a room.
const MAX_SCOPE_BYTES: usize = 2048;

impl Room {
    /// Returns the room of a resource.
    pub fn class(resource: Resource) -> Self {
        Self { resource, id: None, scope: None }
    }

    /// Returns the room of one record.
    pub fn instance(resource: Resource, id: Id) -> Self {
        Self { resource, id: Some(id), scope: None }
    }

    /// Returns the room of a scope; `None` if the encoded scope is too long.
    pub fn scoped(resource: Resource, scope: &Scope) -> Option<Self> {
        if scope.is_everything() {
            return Some(Self::class(resource));
        }
        let (id, scope) = (scope.id().cloned(), scope.encode());
        let is_short = scope.len() <= MAX_SCOPE_BYTES;
        is_short.then(|| Self { resource, id, scope: Some(scope.into()) })
    }

    /// Returns the scope, unless it is the whole resource.
    pub fn scope(&self) -> Option<Scope> {
        Scope::decode(self.scope.as_deref()?)
    }

    /// Parses `todo`, `todo/7`, or `todo?` and a scope.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((resource, scope)) = text.split_once('?')
            && !resource.contains('/')
        {
            let scope = Scope::decode(scope).filter(|_| scope.len() <= MAX_SCOPE_BYTES)?;
            return Self::scoped(Resource::parse(resource)?, &scope);
        }
        match text.split_once('/') {
            None => Resource::parse(text).map(Self::class),
            Some((resource, id)) => {
                Some(Self::instance(Resource::parse(resource)?, Id::parse(id)?))
            }
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.id, &self.scope) {
            (_, Some(scope)) => write!(f, "{}?{scope}", self.resource),
            (Some(id), None) => write!(f, "{}/{id}", self.resource),
            (None, None) => self.resource.fmt(f),
        }
    }
}
