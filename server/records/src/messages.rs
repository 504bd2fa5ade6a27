//! What back ends send to people through the push service.
//!
//! - [`message`]: what is sent;
//! - [`flake`]: how it is numbered;
//! - [`rules`]: how long it is kept, and how much of it is sent in one batch.

pub mod flake;
pub mod message;
pub mod rules;
