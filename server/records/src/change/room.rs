//! Who listens.

use std::fmt;
use std::sync::Arc;

use super::record::Id;
use super::resource::Resource;
use crate::criteria::Scope;

/// Listeners of a resource, or of one record of it, or of what fulfils a filter. Written `todo`, `todo/7`
/// and `todo?…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Room {
    /// The resource.
    pub resource: Resource,
    /// The record, for the room of one.
    pub id: Option<Id>,
    /// What is followed of the resource, for the room of some criteria, as the [`Scope`] writes it.
    pub scope: Option<Arc<str>>,
}

/// Bytes a scope may have in the name of a room.
const LONGEST_SCOPE: usize = 2048;

impl Room {
    /// Everyone who listens to a resource.
    pub fn class(resource: Resource) -> Self {
        Self { resource, id: None, scope: None }
    }

    /// Everyone who listens to one record.
    pub fn instance(resource: Resource, id: Id) -> Self {
        Self { resource, id: Some(id), scope: None }
    }

    /// Everyone who follows the same of a resource; `None` if that takes too many words.
    pub fn scoped(resource: Resource, scope: &Scope) -> Option<Self> {
        if scope.is_everything() {
            return Some(Self::class(resource));
        }
        let (id, scope) = (scope.id().cloned(), scope.encode());
        let is_short = scope.len() <= LONGEST_SCOPE;
        is_short.then(|| Self { resource, id, scope: Some(scope.into()) })
    }

    /// What is followed of the resource, if it is not all of it.
    pub fn scope(&self) -> Option<Scope> {
        Scope::decode(self.scope.as_deref()?)
    }

    /// Reads `todo`, `todo/7`, or `todo?` and a scope.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((resource, scope)) = text.split_once('?')
            && !resource.contains('/')
        {
            let scope = Scope::decode(scope).filter(|_| scope.len() <= LONGEST_SCOPE)?;
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
