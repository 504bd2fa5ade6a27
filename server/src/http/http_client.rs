//! The client for requests to other servers over http and https.
//!
//! It does not follow redirects: a redirect is returned as the answer, so headers are sent only to
//! the server of the request.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// An HTTP client that keeps connections for later requests. Clones share them.
#[derive(Clone)]
pub struct HttpClient(Arc<dyn SendRequest>);

/// Sends requests to other servers.
pub(crate) trait SendRequest: Send + Sync + 'static {
    /// Sends a request and returns the answer. Fails if the body of the answer has more than
    /// `max_bytes`.
    fn send(
        &self,
        request: Request<Full<Bytes>>,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Response<Bytes>, RequestError>>;
}

impl Default for HttpClient {
    /// Creates a client that trusts the root certificates of the machine, or those of Mozilla if
    /// the machine has none.
    fn default() -> Self {
        let builder = HttpsConnectorBuilder::new();
        let builder = builder.with_native_roots().unwrap_or_else(|error| {
            tracing::debug!(%error, "this machine has no root certificates");
            HttpsConnectorBuilder::new().with_webpki_roots()
        });
        let connector = builder.https_or_http().enable_http1().build();
        Self::new(Hyper(Client::builder(TokioExecutor::new()).build(connector)))
    }
}

impl HttpClient {
    pub(crate) fn new(send: impl SendRequest) -> Self {
        Self(Arc::new(send))
    }

    /// Sends a request and returns the answer. Fails if the body of the answer has more than
    /// `max_bytes`.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, RequestError> {
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        self.0.send(request, max_bytes).await
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// Sends requests over the network.
struct Hyper(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl SendRequest for Hyper {
    fn send(
        &self,
        request: Request<Full<Bytes>>,
        max_bytes: usize,
    ) -> BoxFuture<'static, Result<Response<Bytes>, RequestError>> {
        let sent = self.0.request(request);
        Box::pin(async move {
            let response = sent.await.map_err(|error| failed(&error))?;
            let (parts, body) = response.into_parts();
            match Limited::new(body, max_bytes).collect().await {
                Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => Err(RequestError::TooLarge),
                Err(error) => Err(failed(&*error)),
            }
        })
    }
}

/// The `User-Agent`, for the logs of other servers.
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("backwire/", env!("CARGO_PKG_VERSION")));

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The connection failed or ended.
    #[error("{0}")]
    Failed(String),
    /// The answer has more bytes than the caller allows.
    #[error("the answer is too large")]
    TooLarge,
}

/// Joins an error with its sources, because the first message alone says almost nothing.
fn failed(error: &(dyn Error + 'static)) -> RequestError {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
        source = error.source();
    }
    RequestError::Failed(texts.join(": "))
}
