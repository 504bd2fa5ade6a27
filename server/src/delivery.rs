//! The push service: what other back ends send, kept for each person until their devices have acked it.
//!
//! - [`message`]: what is sent;
//! - [`flake`]: how it is numbered;
//! - [`rules`]: how long it is kept and how much of it is told at once.
//!
//! Where it waits is up to the engine: [`Queues`](crate::engine::Queues).

pub mod flake;
pub mod message;
pub mod rules;
