//! The names of headers, in lower case.

/// The key of a write, by which the server recognizes a repeat.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The [position](super::Position) of a snapshot, or of a write.
pub const POSITION: &str = "backwire-position";

/// The room that a read has joined.
pub const ROOM: &str = "backwire-room";

/// The instance room of the record of a write.
pub const RECORD: &str = "backwire-record";

/// How the server understood a read: see [`query`](super::query).
pub const QUERY: &str = "backwire-query";

/// The only transport that serves the url of a request.
pub const TRANSPORT: &str = "backwire-transport";

/// The value of [`TRANSPORT`] if only HTTP serves a url.
pub const TRANSPORT_HTTP: &str = "http";
