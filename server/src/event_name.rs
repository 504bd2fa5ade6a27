//! The names of events that the user's code or a back end sends to clients.

use crate::error::{Error, Result};

/// The maximum size of the name of an event, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 256;

/// Events that Socket.IO clients emit themselves.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Checks the name of an event.
pub(crate) fn check(event: &str) -> Result<()> {
    if !matches!(event.len(), 1..=MAX_NAME_BYTES) {
        return Err(Error::BadField("event", "it has to be a name of 1 to 256 bytes"));
    }
    if RESERVED.contains(&event) {
        return Err(Error::BadField("event", "Socket.IO clients reserve this event"));
    }
    Ok(())
}
