//! The facts of the wire that both ends must agree on, each written once.
//!
//! The server uses this module to encode what it sends to the runtime, the client core to decode
//! it, and the shim gets its constants in `js-shim/src/wire.js`, which `cargo xtask build` writes.
//! `docs/reference/wire-protocol.md` describes them, and `tests/wire` has a few frames of each kind
//! that all ends are tested with.
//!
//! In reading order: [`Position`] and [`ChangeVerb`]; the frames, whose fields have their order
//! here: [`Push`] with its [`ChangeEntry`]s, [`ResumeEntry`], [`ResumeAnswer`] and the
//! [`Reply`](crate::Reply); the names of [`event`]s and of [`header`]s, and of the properties of a
//! [`query`]; and the limits that one end relies on, here.
//!
//! The feature `serde` adds the server's half: `Serialize` for the frames that it sends, and
//! `Deserialize` for those that it receives. The client core does not need it.

pub mod event;
pub mod header;
mod position;
mod push;
pub mod query;
mod reply;
mod resume;
mod verb;

use core::time::Duration;

use crate::join::join;
pub use position::Position;
pub use push::{ChangeEntry, Push, ReceivedChange, ReceivedPush, UserEvent};
#[cfg(feature = "serde")]
pub use reply::ReplyFrame;
pub use resume::{Missed, ReceivedAnswer, ResumeAnswer, ResumeEntry};
pub use verb::ChangeVerb;

/// The version of `docs/reference/wire-protocol.md`, which a client sends in its CONNECT.
pub const VERSION: u64 = 1;

/// The member of the auth of a CONNECT that has the [`VERSION`]. The auth of a stock client has no
/// such member.
pub const AUTH_VERSION: &str = "backwire";

/// A resume of no rooms. The runtime sends it to find out whether its connection works, and the
/// server answers it at once.
pub const PROBE: &str = join!("[\"", event::RESUME, "\",[]]");

/// The member of a refusal of a CONNECT that has more about it, and its member with the delay in
/// milliseconds before the next attempt.
pub const REFUSAL_DATA: &str = "data";
/// See [`REFUSAL_DATA`].
pub const RETRY_AFTER: &str = "retryAfter";

/// The server reads a frame, and a body over HTTP, up to this many times the limit of a body. So it
/// can answer a request that is too large. Both ends derive one limit from the other.
pub const BODY_TOLERANCE: usize = 4;

/// How long the ledger of a server remembers a key by default. The client does not send an older
/// write again: the server might commit it a second time.
pub const LEDGER_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
