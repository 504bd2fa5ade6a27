//! A message of a back end.

use serde_json::value::RawValue;

/// An event for everybody in some rooms.
#[derive(Debug, Clone)]
pub struct Message {
    /// The rooms that receive it.
    pub rooms: Vec<String>,
    /// The name of the event.
    pub event: String,
    /// The arguments of the event, each as it was sent.
    pub args: Vec<Box<RawValue>>,
    /// Whether a device that acks this message out of order has missed a message and has to resync.
    pub resync: bool,
}

/// Returns the bytes of an event's name and of its arguments as a JSON list.
pub fn size(event: &str, args: &[Box<RawValue>]) -> usize {
    let list = 2 + args.len().saturating_sub(1);
    event.len() + list + args.iter().map(|arg| arg.get().len()).sum::<usize>()
}
