//! Why a site does not accept somebody.

/// Why somebody is not let in. What a client is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no token, or it is not good.
    #[error("Authentication error")]
    Unauthorized,
    /// The site's back end answers something else.
    #[error("Auth {0} error")]
    Status(u16),
    /// Its answer is not understood.
    #[error("Auth error: {0}")]
    Failed(&'static str),
    /// It does not answer now. The client should connect again.
    #[error("Auth error: {0}")]
    Unavailable(&'static str),
    /// None of the rooms is the person's own.
    #[error("User is missing a private room")]
    NoUserRoom,
}
