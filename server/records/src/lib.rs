//! Records, changes, criteria and access rules. Everything here is pure: nothing reads a file, a socket
//! or a clock.
//!
//! In reading order:
//!
//! - [`change`]: resources, ids, attributes, and what happened to a record; [`dangling`]: references to destroyed
//!   records;
//! - [`criteria`]: which records are meant; [`access`]: which of them a caller may use; [`model`]: what the records
//!   of a resource are like;
//! - [`mod@write`]: what a write does; [`answer_memory`]: the memory that its answer may take;
//! - [`messages`]: what the push service sends;
//! - [`json_size`]: how much memory JSON takes once it is parsed; [`brackets`]: names such as `where[age]` in urls
//!   and forms; [`nearest`]: the name that was probably meant.

pub mod access;
pub mod answer_memory;
pub mod brackets;
pub mod change;
pub mod criteria;
pub mod dangling;
pub mod json_size;
pub mod messages;
pub mod model;
pub mod nearest;
pub mod write;
