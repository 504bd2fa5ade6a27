//! Why a server cannot start.

use std::io;
use std::net::SocketAddr;

use backwire_engine as engine;
use backwire_records::model::ModelError;

use super::own_paths::HiddenPath;
use crate::config::FileProblem;
use crate::sites::InvalidSite;

/// Why a server cannot be configured or started. The errors of the steps before
/// [`bind`](super::Builder::bind) can be converted to it, so one `?` is enough for all of them:
///
/// ```
/// use std::path::Path;
///
/// use backwire::config::Config;
/// use backwire::model::Model;
/// use backwire::server::StartError;
/// use backwire::{Server, Settings};
///
/// async fn start() -> Result<Server, StartError> {
///     let settings = Config::read(Path::new("config/config.yml"))?.apply_to(Settings::default())?;
///     Server::builder().settings(settings).resource("note", Model::default())?.bind().await
/// }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// assert_eq!(runtime.block_on(start()).unwrap_err().code(), "E_FILE");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A file with settings or sites is invalid.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// The declaration of a resource is invalid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A path of the server hides a declared resource or a route.
    #[error(transparent)]
    Path(#[from] HiddenPath),
    /// A site is invalid.
    #[error(transparent)]
    Site(#[from] InvalidSite),
    /// The engine cannot be opened or used.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The server cannot listen on its address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
}

impl StartError {
    /// Returns the code for programs, which does not change.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File(_) => "E_FILE",
            Self::Model(_) => "E_MODEL",
            Self::Path(_) => "E_PATH",
            Self::Site(invalid) => invalid.code(),
            Self::Engine(_) => "E_ENGINE",
            Self::Listen { .. } => "E_LISTEN",
        }
    }
}

/// Lets a `main` that returns an [`io::Result`] start a server.
impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        let kind = match &error {
            StartError::Listen { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_a_taken_address_keeps_its_kind_and_names_the_address() {
        let source = io::Error::new(io::ErrorKind::AddrInUse, "it is taken");
        let error = StartError::Listen { address: ([127, 0, 0, 1], 80).into(), source };
        assert_eq!(error.code(), "E_LISTEN");
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), "cannot listen on 127.0.0.1:80: it is taken");
    }
}
