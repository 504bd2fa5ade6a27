//! The page of the documentation for those who move here.

/// The page that explains what has become of the options.
pub(crate) const PAGE: &str = "see docs/how-to/move-from-socketio-web-service.md";
