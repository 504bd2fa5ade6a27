//! What we ask of others over http and https.
//!
//! Nothing is followed: an answer that leads elsewhere is the answer, and what a header holds stays with
//! whom it was for.

use std::error::Error;

use axum::body::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Asks, and keeps connections for the next time. Copies share them.
#[derive(Debug, Clone)]
pub struct Outgoing(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Default for Outgoing {
    /// Trusts whom the machine trusts; on one that trusts nobody, whom Mozilla does.
    fn default() -> Self {
        let builder = HttpsConnectorBuilder::new();
        let builder = builder.with_native_roots().unwrap_or_else(|error| {
            tracing::debug!(%error, "no roots on this machine");
            HttpsConnectorBuilder::new().with_webpki_roots()
        });
        let connector = builder.https_or_http().enable_http1().build();
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }
}

impl Outgoing {
    /// The answer, of which no more than so many bytes are read, or why there is none.
    pub async fn ask(
        &self,
        mut request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<Response<Bytes>, NoAnswer> {
        request.headers_mut().insert(header::USER_AGENT, OURSELVES);
        let response = self.0.request(request).await.map_err(|error| broken(&error))?;
        let (parts, body) = response.into_parts();
        match Limited::new(body, most).collect().await {
            Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(NoAnswer::TooLarge),
            Err(error) => Err(broken(&*error)),
        }
    }
}

/// For the logs of others.
const OURSELVES: HeaderValue =
    HeaderValue::from_static(concat!("backwire/", env!("CARGO_PKG_VERSION")));

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// There is nobody, or they have left.
    #[error("{0}")]
    Broken(String),
    /// There is more of it than is read.
    #[error("the answer is too large")]
    TooLarge,
}

/// An error with those it comes from: the first says next to nothing.
fn broken(error: &(dyn Error + 'static)) -> NoAnswer {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
        source = error.source();
    }
    NoAnswer::Broken(texts.join(": "))
}
