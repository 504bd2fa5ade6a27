//! The names of events. A request is an event named after its [verb](crate::Verb).

/// From the server: a [push](super::Push).
pub const PUSH: &str = "push";

/// From the client: a list of [rooms to resume](super::ResumeEntry). The ack has the
/// [answers](super::ResumeAnswer).
pub const RESUME: &str = "resume";

/// From the client: the name of a room to leave.
pub const UNSUBSCRIBE: &str = "unsubscribe";

/// From the client: the id of the last event for the user that it has handled.
pub const DELIVERED: &str = "delivered";

/// From the server, as an event for the user of the page: the token of the connection expires in so
/// many seconds.
pub const EXPIRES: &str = "backwire:expires";
