//! The push service: what other back ends send, kept for each person until their devices have acked it.
//!
//! - [`message`]: what is sent.

pub mod message;
