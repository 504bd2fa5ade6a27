//! Accepts TCP connections and serves HTTP on them.
//!
//! It does what `axum::serve` does, and more: it [counts connections](super::connections), and it
//! applies [deadlines](super::activity) while it waits for clients.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use backwire_engine::Environment;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use super::activity::Deadlines;
use super::body::{RequestBody, ResponseBody};
use super::connection_handle::ConnectionHandle;
use super::connections::{Connections, LimitReached};
use super::embedded::body_overdue;
use super::head_memory::MAX_HEAD_BYTES;
use super::raw_response::raw_response;
use super::tcp_connection::TcpConnection;
use super::uploads::UploadMemory;
use crate::error::Error;
use crate::limit_monitor::LimitMonitor;
use crate::settings::{Limit, Limits};

/// The longest pause after an error of the system. The shortest is a hundredth of it.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// How often errors of the system are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Refused connections that the server keeps open until the client has read the refusal, and for
/// how long.
const MAX_LINGERING: usize = 16;
const LINGER_TIME: Duration = Duration::from_secs(1);

/// The state that all connections share.
pub(crate) struct HttpServer {
    app: Router,
    /// Whether handlers of the app may ask for the address of the peer.
    tells_peer: bool,
    connections: Arc<Connections>,
    limits: Arc<LimitMonitor>,
    deadlines: Deadlines,
    write_deadline: Duration,
    /// The memory of the heads of all requests.
    heads: Arc<UploadMemory>,
    lingering: Arc<Semaphore>,
}

impl HttpServer {
    pub(crate) fn new(
        environment: Environment,
        (app, tells_peer): (Router, bool),
        connections: Arc<Connections>,
        settings: &Limits,
    ) -> Arc<Self> {
        let limits = connections.limits();
        let (heads, speed) = (settings.total_request_bytes, settings.upload_speed);
        let limits = Arc::clone(limits);
        Arc::new(Self {
            app,
            tells_peer,
            heads: UploadMemory::new(environment, heads, speed, Arc::clone(&limits)),
            limits,
            connections,
            deadlines: Deadlines::of(settings),
            write_deadline: settings.write_deadline,
            lingering: Arc::new(Semaphore::new(MAX_LINGERING)),
        })
    }

    /// Serves until `stop` resolves, and then until all requests are answered.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, stop: impl Future) {
        let addr = listener.local_addr().ok();
        let (stopping, is_stopping) = watch::channel(());
        let (done, is_done) = watch::channel(());
        let mut stop = pin!(stop);
        let mut errors = AcceptErrors::default();
        loop {
            self.connections.wait_for_closing().await;
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = &mut stop => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    errors.pause = Duration::ZERO;
                    self.clone().admit(stream, (peer, addr), (stopping.clone(), is_done.clone()));
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    self.connections.make_room();
                    sleep(errors.pause_after(&error)).await;
                }
            }
        }
        drop((is_stopping, is_done, listener));
        done.closed().await;
    }

    fn admit(
        self: Arc<Self>,
        stream: TcpStream,
        (peer, addr): (SocketAddr, Option<SocketAddr>),
        (stopping, is_done): (watch::Sender<()>, watch::Receiver<()>),
    ) {
        let limits = Some(Arc::clone(&self.limits));
        let mut connection = TcpConnection::new(stream, self.write_deadline, limits);
        let handle = connection.handle();
        addr.into_iter().for_each(|addr| handle.set_listener(addr));
        match self.connections.admit(&handle, peer.ip()) {
            Ok(registration) => {
                connection.register(registration);
                connection.count_heads(&self.heads);
                tokio::spawn(async move {
                    self.serve_connection(connection, (handle, peer), stopping).await;
                    drop(is_done);
                });
            }
            Err(LimitReached(limit, max)) => {
                self.limits.reached(limit, handle.client());
                self.refuse(connection, &Error::TooManyConnections { limit, max });
            }
        }
    }

    /// Answers with the error, whatever the client requests, and closes the connection.
    fn refuse(&self, connection: TcpConnection, error: &Error) {
        connection.handle().finish_with(&raw_response(error));
        if let Ok(permit) = self.lingering.clone().try_acquire_owned() {
            tokio::spawn(async move {
                // The response would be lost if the connection were closed while the client writes.
                let _ = timeout(LINGER_TIME, connection.read_to_end()).await;
                drop(permit);
            });
        }
    }

    async fn serve_connection(
        &self,
        connection: TcpConnection,
        (handle, peer): (ConnectionHandle, SocketAddr),
        stopping: watch::Sender<()>,
    ) {
        let service = service_fn(|request| self.answer((&handle, peer), request));
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES);
        let connection = TokioIo::new(connection);
        let connection = builder.serve_connection(connection, service).with_upgrades();
        let mut connection = pin!(connection);
        let mut stopped = pin!(stopping.closed());
        let mut timer = pin!(sleep(self.deadlines.idle));
        let mut is_stopped = false;
        poll_fn(|cx| {
            if !is_stopped && stopped.as_mut().poll(cx).is_ready() {
                is_stopped = true;
                connection.as_mut().graceful_shutdown();
            }
            loop {
                // An error means that the client has gone, or has sent something other than HTTP.
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let overdue = handle.activity().poll_overdue(&self.deadlines, timer.as_mut(), cx);
                match ready!(overdue) {
                    // The reader of the body answers, so that the client learns why.
                    Limit::BodyDeadline => handle.activity().body_is_overdue(),
                    limit => {
                        self.end_overdue(&handle, limit);
                        return Poll::Ready(());
                    }
                }
            }
        })
        .await;
    }

    /// Ends a connection on which no request is in progress.
    fn end_overdue(&self, handle: &ConnectionHandle, limit: Limit) {
        // An idle connection is not a fault of its client.
        if limit == Limit::HeaderDeadline {
            self.limits.reached(limit, handle.client());
            let error = Error::RequestTimeout { limit, deadline: self.deadlines.header };
            handle.finish_with(&raw_response(&error));
        }
    }

    async fn answer(
        &self,
        (handle, peer): (&ConnectionHandle, SocketAddr),
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        handle.activity().request_begins();
        let mut request = request.map(|body| RequestBody::attach(body, handle));
        request.extensions_mut().insert(ConnectInfo(handle.clone()));
        if self.tells_peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let Ok(mut response) = self.app.clone().oneshot(request).await;
        if handle.activity().has_overdue_body() {
            response = body_overdue(&self.limits, handle, &self.deadlines);
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            handle.activity().upgraded();
        }
        Ok(response.map(|body| ResponseBody::new(body, handle.clone(), ())))
    }
}

/// Errors of the system while the server accepts connections.
#[derive(Default)]
struct AcceptErrors {
    pause: Duration,
    logged: Option<Instant>,
    suppressed: u64,
}

impl AcceptErrors {
    /// Logs an error, at most once per [`LOG_INTERVAL`]. Returns how long to wait before the next
    /// try.
    fn pause_after(&mut self, error: &io::Error) -> Duration {
        let is_logged = self.logged.is_some_and(|logged| logged.elapsed() < LOG_INTERVAL);
        if is_logged {
            self.suppressed += 1;
        } else {
            let suppressed = std::mem::take(&mut self.suppressed);
            tracing::warn!(%error, suppressed, "cannot accept connections, trying again");
            self.logged = Some(Instant::now());
        }
        self.pause = (self.pause * 2).clamp(MAX_PAUSE / 100, MAX_PAUSE);
        self.pause
    }
}

/// Whether the error is about one connection, so that the next one may succeed.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_after_errors_grows_up_to_a_second_and_few_errors_are_logged() {
        let (mut errors, error) = (AcceptErrors::default(), io::Error::other("no descriptor"));
        let pauses: Vec<_> = (0..9).map(|_| errors.pause_after(&error).as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(errors.suppressed, 8);
    }
}
