//! The push service: what other back ends send, kept for each person until their devices have acked it.
//!
//! - `courier`: takes it to those who are there; `present`: who that is; `attend`: what one of them is told, and
//!   in which order, with `arrivals`: what has come for it meanwhile;
//! - `guest`: somebody who is there, and how they are told.
//!
//! Where it waits is up to the engine: [`Queues`](backwire_engine::Queues).

mod arrivals;
mod attend;
pub(crate) mod connected;
pub(crate) mod courier;
pub(crate) mod guest;
pub(crate) mod present;
mod recheck;
pub(crate) mod rejection;
