//! How a client reaches its server.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue};

/// The url of a server, and what its handshakes have beside it.
///
/// ```no_run
/// use backwire_client_native::{Client, Connector};
///
/// # async fn connect() {
/// let shop = Connector::new("wss://shop.example").path("/live/socket.io/");
/// let (client, events) = Client::connect_by(shop.header("cookie", "backwire.sid=abc"));
/// # }
/// ```
#[derive(Clone)]
pub struct Connector {
    url: String,
    path: String,
    headers: HeaderMap,
    open: Option<Open>,
}

/// A connection to a server, as bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

pub(crate) type Opening = BoxFuture<'static, io::Result<Pin<Box<dyn Stream>>>>;

type Open = Arc<dyn Fn() -> Opening + Send + Sync>;

impl Connector {
    /// Connects to `ws://host:port`, with the default path of Socket.IO and without headers.
    pub fn new(url: &str) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        let (headers, path) = (HeaderMap::new(), "/socket.io/".to_owned());
        Self { url, path, headers, open: None }
    }

    /// Sets the path of Socket.IO: `/live/socket.io/`. A query after it is sent with each
    /// handshake.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// Adds a header to each handshake.
    ///
    /// # Panics
    ///
    /// If the name or the value is not one that a header can have.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("it is the name of a header");
        let value = HeaderValue::from_str(value).expect("it is the value of a header");
        self.headers.append(name, value);
        self
    }

    /// Sends everything over streams that a function opens, instead of TCP connections. The url
    /// then only names the server.
    #[must_use]
    pub fn over<S, F>(mut self, open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        self.open = Some(Arc::new(move || {
            let opening = open();
            Box::pin(async move { Ok(Box::pin(opening.await?) as Pin<Box<dyn Stream>>) })
        }));
        self
    }

    /// Returns the function that opens the streams; `None` for TCP connections.
    pub(crate) fn opener(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// Returns the request that opens a WebSocket.
    pub(crate) fn request(&self) -> Result<Request, Error> {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let url = format!("{}{}{separator}EIO=4&transport=websocket", self.url, self.path);
        let mut request = url.into_client_request()?;
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }
}

impl fmt::Debug for Connector {
    /// Headers may have secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, path, .. } = self;
        f.debug_struct("Connector").field("url", url).field("path", path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_has_the_path_the_query_and_the_headers() {
        let plain = Connector::new("ws://a:1/").request().unwrap();
        assert_eq!(plain.uri(), "ws://a:1/socket.io/?EIO=4&transport=websocket");
        let other = Connector::new("ws://a:1").path("/live/?room=7").header("Cookie", "a=b");
        assert_eq!(
            format!("{other:?}"),
            r#"Connector { url: "ws://a:1", path: "/live/?room=7", .. }"#
        );
        let request = other.request().unwrap();
        assert_eq!(request.uri(), "ws://a:1/live/?room=7&EIO=4&transport=websocket");
        assert_eq!(request.headers()["cookie"], "a=b");
        assert!(Connector::new("not a url").request().is_err());
    }
}
