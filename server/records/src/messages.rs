//! The messages that back ends send to people through the push service.
//!
//! - [`message`]: the messages;
//! - [`flake`]: their ids;
//! - [`rules`]: how long messages are kept, and the limits of a batch.

pub mod flake;
pub mod message;
pub mod rules;
