//! The source of the ids of a resource.

use serde::Deserialize;

/// The source of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// As the conventions have it: `Any`, or `Integer` with those of Sails.
    #[default]
    #[serde(skip)]
    Conventional,
    /// The next free integer, unless the client gives one of any kind.
    Any,
    /// The next free integer, unless the client gives one.
    Integer,
    /// A version 7 UUID, unless the client gives one.
    Uuid,
    /// The client has to give one.
    Client,
}
