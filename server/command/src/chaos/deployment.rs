//! The connections to the tested server: clients connect through the proxy, the recorder directly.

use std::ops::Deref;
use std::sync::Arc;

use backwire_checker::view::Names;
use backwire_checker::world::{Checks, Incoming, Line, LineFault, World};
use backwire_environment::Environment;
use futures_util::{SinkExt, StreamExt, future};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::endpoint::Endpoint;
use super::meter::Meter;
use super::proxy::Proxy;

/// A run of clients against one server.
pub(super) struct Deployment {
    checks: Checks,
    /// The unique name of the run.
    pub(super) name: String,
    pub(super) meter: Arc<Meter>,
    pub(super) proxy: Proxy,
    endpoint: Endpoint,
    /// The site that the clients connect to.
    site: Option<String>,
}

impl Deployment {
    pub(super) fn new(
        name: &str,
        resource: &str,
        proxy: Proxy,
        endpoint: Endpoint,
        site: Option<String>,
    ) -> Arc<Self> {
        let checks = Checks::without_logs(Environment::tokio(), Names::with_todo(resource));
        let name = name.to_owned();
        Arc::new(Self { checks, name, meter: Arc::default(), proxy, endpoint, site })
    }

    /// Removes the name of the run from the names of clients in a text.
    pub(super) fn with_short_names(&self, text: &str) -> String {
        text.replace(&format!("{}-", self.name), "client-")
    }

    fn connect(
        &self,
        address: String,
        to_page: (u64, mpsc::UnboundedSender<(u64, Incoming)>),
        meter: Option<Arc<Meter>>,
    ) -> Socket {
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let socket = run_socket(address, self.endpoint.clone(), to_send, to_page, meter);
        Socket { outgoing, task: tokio::spawn(socket).abort_handle() }
    }
}

impl Deref for Deployment {
    type Target = Checks;

    fn deref(&self) -> &Checks {
        &self.checks
    }
}

impl World for Deployment {
    type Line = Socket;

    fn auth(&self, person: &str, device: &str) -> String {
        self.site.as_ref().map_or_else(String::new, |site| {
            serde_json::json!({"site": site, "token": person, "deviceId": device}).to_string()
        })
    }

    fn open(&self, _: &str, to_page: (u64, mpsc::UnboundedSender<(u64, Incoming)>)) -> Socket {
        self.connect(self.proxy.address().to_string(), to_page, Some(Arc::clone(&self.meter)))
    }

    fn open_directly(
        &self,
        _: &str,
        to_page: (u64, mpsc::UnboundedSender<(u64, Incoming)>),
    ) -> Socket {
        self.connect(self.proxy.target(), to_page, None)
    }

    fn log(&self, name: &str, direction: &str, what: &str) {
        tracing::debug!("{name} {direction} {what}");
    }

    fn written(&self, number: u64) {
        self.meter.written(number);
    }

    fn received(&self, number: u64) {
        self.meter.received(number);
    }
}

/// A WebSocket of a client.
pub(super) struct Socket {
    outgoing: mpsc::UnboundedSender<String>,
    task: tokio::task::AbortHandle,
}

impl Line for Socket {
    fn send(&self, packet: String) {
        // The connection may have ended.
        let _ = self.outgoing.send(packet);
    }

    fn inject(&self, fault: LineFault) {
        // The proxy injects the other faults.
        if let LineFault::Cut = fault {
            self.task.abort();
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts a client as online, from its CONNECT to the end of its connection.
struct Online(Arc<Meter>);

impl Online {
    fn begin(meter: &Arc<Meter>) -> Self {
        meter.online(1);
        Self(Arc::clone(meter))
    }
}

impl Drop for Online {
    fn drop(&mut self) {
        self.0.online(-1);
    }
}

/// Notifies the page when its connection has ended, also if the task is aborted.
struct CloseNotifier(u64, mpsc::UnboundedSender<(u64, Incoming)>);

impl Drop for CloseNotifier {
    fn drop(&mut self) {
        // The page may be gone.
        let _ = self.1.send((self.0, Incoming::Closed));
    }
}

async fn run_socket(
    address: String,
    endpoint: Endpoint,
    mut to_send: mpsc::UnboundedReceiver<String>,
    (number, to_page): (u64, mpsc::UnboundedSender<(u64, Incoming)>),
    meter: Option<Arc<Meter>>,
) {
    let _close_notifier = CloseNotifier(number, to_page.clone());
    let Ok(socket) = endpoint.connect(address).await else { return };
    let (mut sink, mut stream) = socket.split();
    let write = async {
        while let Some(packet) = to_send.recv().await {
            if sink.send(Message::text(packet)).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        let mut online = None;
        while let Some(Ok(message)) = stream.next().await {
            let Message::Text(packet) = message else { continue };
            if let Some(meter) = meter.as_ref().filter(|_| packet.starts_with("40")) {
                online = Some(Online::begin(meter));
            }
            if to_page.send((number, Incoming::Packet(packet.to_string()))).is_err() {
                break;
            }
        }
        drop(online);
    };
    futures_util::pin_mut!(write, read);
    future::select(write, read).await;
}
