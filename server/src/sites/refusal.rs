//! Why a site refuses a client.

/// Why a site refuses a client, with the message for stock clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no token, or it is not valid.
    #[error("Authentication error")]
    Unauthorized,
    /// The site's back end answers with another status.
    #[error("Auth {0} error")]
    Status(u16),
    /// The answer of the back end is not valid.
    #[error("Auth error: {0}")]
    Failed(&'static str),
    /// The back end does not answer now. The client should connect again.
    #[error("Auth error: {0}")]
    Unavailable(&'static str),
    /// None of the rooms is a private room of the person.
    #[error("User is missing a private room")]
    NoUserRoom,
}
