//! The url of the WebSockets of a run, and the certificates that the clients trust.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

/// How long the handshake of a WebSocket may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The url of the WebSockets, with the host name of the tested server.
#[derive(Clone)]
pub(super) struct Endpoint {
    url: String,
    /// If this is `None`, clients trust the certificates that the machine trusts.
    connector: Option<Connector>,
}

impl Endpoint {
    /// Returns the endpoint of a server. `origin` is scheme, host and port of a WebSocket.
    pub(super) fn new(origin: &str) -> Self {
        Self { url: format!("{origin}/socket.io/?EIO=4&transport=websocket"), connector: None }
    }

    /// Trusts only the certificates of a PEM file.
    pub(super) fn trusting(self, file: &Path) -> io::Result<Self> {
        let failed = |error: &dyn std::fmt::Display| {
            io::Error::other(format!(
                "--ca: {}: {error}: expected certificates in PEM",
                file.display()
            ))
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).map_err(|it| failed(&it))? {
            let certificate = certificate.map_err(|error| failed(&error))?;
            roots.add(certificate).map_err(|error| failed(&error))?;
        }
        if roots.is_empty() {
            return Err(failed(&"the file has no certificate"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(io::Error::other)?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { connector: Some(Connector::Rustls(Arc::new(config))), ..self })
    }

    /// Opens a WebSocket over a connection to this host and port, for example those of the proxy.
    pub(super) async fn connect(
        &self,
        address: String,
    ) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, Error> {
        let handshake = async {
            let stream = TcpStream::connect(address).await?;
            // Small frames must not wait for each other's acknowledgement.
            stream.set_nodelay(true)?;
            let connector = self.connector.clone();
            Ok(client_async_tls_with_config(&*self.url, stream, None, connector).await?.0)
        };
        let timed_out = |_| {
            let text =
                format!("the server did not answer the handshake within {HANDSHAKE_TIMEOUT:?}");
            Err(Error::Io(io::Error::other(text)))
        };
        timeout(HANDSHAKE_TIMEOUT, handshake).await.unwrap_or_else(timed_out)
    }

    /// Checks that a client can open a WebSocket over a connection to this host and port.
    pub(super) async fn check(&self, address: String) -> io::Result<()> {
        let error = match self.connect(address).await {
            Ok(_) => return Ok(()),
            Err(error) => error.to_string(),
        };
        let hint = if error.contains("CaUsedAsEndEntity") {
            ": the certificate is that of a certificate authority; create one for the server, with CA:FALSE"
        } else if error.contains("certificate") {
            "; to trust the certificates of a file, use --ca FILE"
        } else {
            ""
        };
        Err(io::Error::other(format!("cannot open a WebSocket at {}: {error}{hint}", self.url)))
    }
}
