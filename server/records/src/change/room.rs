//! Rooms: the listeners of a resource, of a record or of a scope.

use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::record::Id;
use super::resource::Resource;
use crate::criteria::Scope;
use crate::json_size::JsonSize;

/// The listeners of a resource, of one record of it, or of the records in a [`Scope`].
///
/// The name of a room (`todo`, `todo/7` or `todo?…`) is its text for clients and for Socket.IO.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Room {
    /// The room of a resource.
    Class(Resource),
    /// The room of one record.
    Instance(Resource, Id),
    /// The room of a filter, of a part, of the members of a collection, or of one record as long
    /// as a filter picks it.
    Scoped(Resource, Arc<NamedScope>),
}

/// A scope and its text in the name of a room. Two of them are equal if their texts are.
#[derive(Debug)]
pub struct NamedScope {
    scope: Scope,
    text: Box<str>,
    values: usize,
}

/// The maximum bytes of a scope in the name of a room.
const MAX_SCOPE_BYTES: usize = 2048;

impl NamedScope {
    /// Encodes a scope; `None` if its text is too long.
    fn new(scope: Scope) -> Option<Self> {
        let text = scope.encode();
        let values = JsonSize::of(&text).values();
        (text.len() <= MAX_SCOPE_BYTES).then(|| Self { scope, text: text.into(), values })
    }

    /// Returns the scope.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl PartialEq for NamedScope {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for NamedScope {}

impl Hash for NamedScope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Room {
    /// Returns the room of a resource.
    pub fn class(resource: Resource) -> Self {
        Self::Class(resource)
    }

    /// Returns the room of one record.
    pub fn instance(resource: Resource, id: Id) -> Self {
        Self::Instance(resource, id)
    }

    /// Returns the room of a scope; `None` if the encoded scope is too long.
    pub fn scoped(resource: Resource, scope: Scope) -> Option<Self> {
        if scope.is_everything() {
            return Some(Self::Class(resource));
        }
        Some(Self::Scoped(resource, Arc::new(NamedScope::new(scope)?)))
    }

    /// Returns the resource.
    pub fn resource(&self) -> &Resource {
        match self {
            Self::Class(resource) | Self::Instance(resource, _) | Self::Scoped(resource, _) => {
                resource
            }
        }
    }

    /// Returns the record, in a room of one record.
    pub fn id(&self) -> Option<&Id> {
        match self {
            Self::Class(_) => None,
            Self::Instance(_, id) => Some(id),
            Self::Scoped(_, named) => named.scope.id(),
        }
    }

    /// Returns the scope, in a room of a scope.
    pub fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Class(_) | Self::Instance(..) => None,
            Self::Scoped(_, named) => Some(&named.scope),
        }
    }

    /// Parses the name of a room.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some((resource, scope)) = name.split_once('?')
            && !resource.contains('/')
        {
            let scope = Some(scope).filter(|scope| scope.len() <= MAX_SCOPE_BYTES)?;
            return Self::scoped(Resource::parse(resource)?, Scope::decode(scope)?);
        }
        match name.split_once('/') {
            None => Resource::parse(name).map(Self::class),
            Some((resource, id)) => {
                Some(Self::instance(Resource::parse(resource)?, Id::parse(id)?))
            }
        }
    }

    /// Returns the name after a prefix. It is built for each push, so it does not use the slower
    /// `format!` where it can.
    pub fn name_with_prefix(&self, prefix: &str) -> String {
        let mut name = String::with_capacity(prefix.len() + 24);
        name.push_str(prefix);
        name.push_str(self.resource().as_str());
        match self {
            Self::Class(_) => {}
            Self::Instance(_, id) => {
                name.push('/');
                // Writing to a string cannot fail.
                let _ = write!(name, "{id}");
            }
            Self::Scoped(_, named) => {
                name.push('?');
                name.push_str(&named.text);
            }
        }
        name
    }

    /// Returns the number of values in the scope: they take memory beside its text.
    pub fn scope_values(&self) -> usize {
        match self {
            Self::Class(_) | Self::Instance(..) => 0,
            Self::Scoped(_, named) => named.values,
        }
    }

    /// Returns the length of the name in bytes.
    pub fn name_bytes(&self) -> usize {
        let rest = match self {
            Self::Class(_) => 0,
            Self::Instance(_, Id::Text(id)) => 1 + id.len(),
            Self::Instance(_, Id::Integer(id)) => {
                let digits = id.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
                1 + usize::from(*id < 0) + digits
            }
            Self::Scoped(_, named) => 1 + named.text.len(),
        };
        self.resource().as_str().len() + rest
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(resource) => resource.fmt(f),
            Self::Instance(resource, id) => write!(f, "{resource}/{id}"),
            Self::Scoped(resource, named) => write!(f, "{resource}?{}", named.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_parsed_to_the_same_room_and_has_its_length() {
        let one = r#"todo?[7,{"Attribute":["a",{"OneOf":["/",null]}]}]"#.replace('/', "\\u002f");
        for name in ["todo", "todo/7", "todo/-120", "todo/0", "todo/a/b?c", &one] {
            let room = Room::parse(name).unwrap();
            let written = room.name_with_prefix("");
            assert_eq!((room.to_string(), room.name_bytes()), (written.clone(), written.len()));
            assert_eq!(Room::parse(&written), Some(room));
        }
    }
}
