//! The HTTP edge: connections, who may use them, and what is served beside resources.

pub(crate) mod assets;
pub(crate) mod handshake;
pub(crate) mod health;
pub(crate) mod limit;
pub(crate) mod listener;
pub(crate) mod origin;
pub(crate) mod publish;
