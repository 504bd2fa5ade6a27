//! The guide for users of the SocketIO Web Service.

/// The page of the documentation that explains which options have an effect in Backwire.
pub(crate) const MIGRATION_GUIDE: &str = "see docs/how-to/move-from-socketio-web-service.md";
