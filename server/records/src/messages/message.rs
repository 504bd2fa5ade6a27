//! What a back end sends.

use serde_json::value::RawValue;

/// An event for everybody in some rooms.
#[derive(Debug, Clone)]
pub struct Message {
    /// To whom.
    pub rooms: Vec<String>,
    /// The name of the event.
    pub event: String,
    /// What it says, each argument as it was sent.
    pub args: Vec<Box<RawValue>>,
    /// Whether a device that acks it out of order has lost its place and has to start over.
    pub resync: bool,
}

/// The bytes of an event's name and of its arguments as a list.
pub fn size(event: &str, args: &[Box<RawValue>]) -> usize {
    let list = 2 + args.len().saturating_sub(1);
    event.len() + list + args.iter().map(|arg| arg.get().len()).sum::<usize>()
}
