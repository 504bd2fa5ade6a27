//! The errors of writes.

use crate::change::{Id, Resource};
use crate::counted::counted;
use crate::model::{Ids, Violation};

/// The error of a write that cannot be done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// The record does not exist.
    #[error("there is no record {id} in {resource}")]
    NotFound {
        /// The resource.
        resource: Resource,
        /// The id.
        id: Id,
    },
    /// The record exists already.
    #[error("there is a record {id} in {resource} already")]
    Exists {
        /// The resource.
        resource: Resource,
        /// The id.
        id: Id,
    },
    /// The value is not an id.
    #[error(
        "an id is an integer within \u{b1}(2^53 - 1) or a string of 1 to 255 bytes without control characters"
    )]
    BadId,
    /// The id is not of the kind that the model asks for.
    #[error("{}", match .0 {
        Ids::Uuid => "an id here is a UUID",
        _ => "an id here is an integer",
    })]
    WrongId(Ids),
    /// There is no id, and the client has to give one.
    #[error("a new record of {resource} needs its {key}")]
    NoId {
        /// The resource.
        resource: Resource,
        /// The name of the primary key.
        key: String,
    },
    /// Each integer from the counter's to the largest is the id of a record.
    #[error(
        "{resource} has no integer left for the id of a new record; give it an id that is a text"
    )]
    NoIdLeft {
        /// The resource.
        resource: Resource,
    },
    /// Some values break rules of the model.
    #[error("{}", sentences(.wrong))]
    Invalid {
        /// Whether the write would have added the record.
        is_new: bool,
        /// All violations; not empty.
        wrong: Vec<Violation>,
    },
    /// No attribute can have this name.
    #[error("the name {0} of an attribute has control characters")]
    BadName(
        /// The name, escaped and perhaps shortened.
        String,
    ),
    /// Another record has the value already.
    #[error("there is a record of {resource} with this {attribute} already")]
    Taken {
        /// The resource.
        resource: Resource,
        /// The attribute.
        attribute: String,
    },
    /// The writer may not set the owner of the record.
    #[error(
        "{attribute} is the owner of a record of {resource}: you own the records that you create, and the owner \
         cannot be changed, except by those whom `assign` in the access of {resource} names"
    )]
    Owner {
        /// The resource.
        resource: Resource,
        /// The attribute with the owner.
        attribute: String,
    },
    /// The access rules do not allow the writer to write such a record.
    #[error("the access rules do not allow you to write a record of {resource} with these values")]
    OutsideAccess {
        /// The resource.
        resource: Resource,
    },
    /// The store has reached its maximum number of records.
    #[error(
        "the server has {} already (records): destroy some, or ask the operator to raise the limit",
        counted(*.limit, "record")
    )]
    TooManyRecords {
        /// The maximum.
        limit: u64,
    },
    /// The resource has reached its maximum number of records.
    #[error(
        "{resource} has {} already (records_per_resource): destroy some, or ask the operator to \
         raise the limit",
        counted(*.limit, "record")
    )]
    TooManyOfResource {
        /// The resource.
        resource: Resource,
        /// The maximum.
        limit: u64,
    },
    /// The key was used for another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
}

fn sentences(wrong: &[Violation]) -> String {
    let sentences: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    sentences.join("; ")
}
