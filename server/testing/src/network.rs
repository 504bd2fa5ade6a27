//! Connections to a tested server, without a network: HTTP over pipes in memory.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use backwire_environment::Spawn;
use http::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, duplex};
use tower::ServiceExt;

use crate::response::Response;
use crate::tasks::Tasks;

/// The bytes that one end of a connection may send before the other end reads.
const BUFFER: usize = 1 << 16;

/// The port in the address of each client, which has no real TCP connection.
const CLIENT_PORT: u16 = 50_000;

/// The app that answers the requests of clients, and the runtime of their connections.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) app: Router,
    /// The path that the router of the server is nested at.
    pub(crate) path: Arc<str>,
    pub(crate) tasks: Tasks,
}

impl Network {
    /// Waits until the server is idle.
    pub(crate) async fn wait_until_idle(&self) {
        self.tasks.settle().await;
    }

    /// Sends a request without a connection.
    pub(crate) async fn request(&self, request: Request<Body>, from: IpAddr) -> Response {
        let Ok(response) = self.app.clone().oneshot(with_address(request, from)).await;
        Response::over_http(response).await
    }

    /// Opens a connection from an address.
    pub(crate) async fn open(self, from: IpAddr) -> io::Result<DuplexStream> {
        let (ours, theirs) = duplex(BUFFER);
        let app = self.app;
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let answer = app.clone().oneshot(with_address(request.map(Body::new), from));
            async move {
                let Ok(response) = answer.await;
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
        self.tasks.spawn(Box::pin(async move {
            // An error means that a client dropped the connection without closing it.
            let _ = connection.with_upgrades().await;
        }));
        Ok(ours)
    }
}

fn with_address(mut request: Request<Body>, from: IpAddr) -> Request<Body> {
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(from, CLIENT_PORT)));
    request
}
