//! Records, changes, criteria and access rules. Everything here is pure: nothing reads a file, a
//! socket or a clock.
//!
//! In reading order:
//!
//! - [`change`]: resources, ids, attributes, and the changes of a record; [`dangling`]: references
//!   to destroyed records;
//! - [`criteria`]: the query language, which selects records; [`access`]: the records that a caller
//!   may use; [`model`]: the schema of a resource;
//! - [`mod@write`]: writes and their outcomes; [`answer_memory`]: the memory that an answer may
//!   take;
//! - [`messages`]: the messages of the push service;
//! - [`json_size`]: the memory that JSON takes once it is parsed; [`brackets`]: names such as
//!   `where[age]` in urls and forms; [`nearest`]: the name that was probably meant; [`counted`]:
//!   counts in messages.

pub mod access;
pub mod answer_memory;
pub mod brackets;
pub mod change;
pub mod counted;
pub mod criteria;
pub mod dangling;
pub mod json_size;
pub mod messages;
pub mod model;
pub mod nearest;
pub mod write;
