//! The network between pages and the server: connections with latency, and their faults.
//!
//! A connection carries the packets of Engine.IO as text, as a WebSocket does. Packets of one
//! direction arrive in order. Packets of different connections and directions overtake each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backwire::simulation::{Connection, SimulatedServer};
use backwire_checker::world::{self, Incoming, LineFault};
use backwire_environment::{Environment, Watched};
use http::Request;
use tokio::sync::{Notify, mpsc};

use crate::trace::Trace;

/// How often the server sends a ping, in milliseconds.
const PING_INTERVAL: u64 = 25_000;

/// How long the server waits for the answer to a ping, in milliseconds.
const PING_TIMEOUT: u64 = 20_000;

/// A connection, at the end of the page. It ends when this is dropped.
pub(crate) struct Line {
    shared: Arc<Shared>,
    to_server: mpsc::UnboundedSender<String>,
}

/// The state that both directions of a connection share.
pub(crate) struct Shared {
    name: String,
    environment: Environment,
    trace: Arc<Trace>,
    /// The connection is over, for both ends.
    is_cut: AtomicBool,
    cut: Notify,
    /// Nothing arrives any more, but neither end is notified.
    is_silent: AtomicBool,
    /// Packets to the page wait until this time of the clock, in milliseconds.
    stalled_until: AtomicU64,
    /// When the page last sent something, in milliseconds.
    last_received: AtomicU64,
    /// The connection at the server, and when it was admitted, in milliseconds.
    admitted: OnceLock<(u64, Connection)>,
}

/// A server to connect to, or `None` if no server runs or the page is offline.
pub(crate) type Destination = Option<Server>;

/// A running server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) server: Arc<SimulatedServer>,
    /// Whether its process is paused.
    pub(crate) is_paused: Arc<Watched<bool>>,
}

impl Server {
    /// Waits while the process of the server is paused.
    async fn wait_while_paused(&self) {
        self.is_paused.wait_for(|is_paused| !is_paused).await;
    }
}

impl Line {
    /// Opens a connection. Its packets and its end are sent to the page, under this number.
    pub(crate) fn open(
        environment: &Environment,
        trace: &Arc<Trace>,
        name: &str,
        (number, to_page): (u64, mpsc::UnboundedSender<(u64, Incoming)>),
        (destination, max_unread): (Destination, usize),
    ) -> Self {
        let (to_server, from_page) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            environment: environment.clone(),
            trace: Arc::clone(trace),
            is_cut: AtomicBool::new(false),
            cut: Notify::new(),
            is_silent: AtomicBool::new(false),
            stalled_until: AtomicU64::new(0),
            last_received: AtomicU64::new(0),
            admitted: OnceLock::new(),
        });
        let page = PageEnd { shared: Arc::clone(&shared), number, to_page };
        environment.spawn(run_connection(page, from_page, destination, max_unread));
        Self { shared, to_server }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl world::Line for Line {
    fn send(&self, packet: String) {
        // A page may send after the connection has ended.
        let _ = self.to_server.send(packet);
    }

    fn inject(&self, fault: LineFault) {
        match fault {
            LineFault::Cut => self.shared.cut(),
            LineFault::Silence => self.shared.silence(),
            LineFault::Stall(milliseconds) => self.shared.stall(milliseconds),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.cut();
    }
}

impl Shared {
    /// Ends the connection. Both ends notice after a while.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        self.cut.notify_waiters();
    }

    /// Drops all further packets, without notifying either end.
    pub(crate) fn silence(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// Delays all packets to the page for a time.
    pub(crate) fn stall(&self, milliseconds: u64) {
        self.stalled_until.store(self.now() + milliseconds, Ordering::Relaxed);
    }

    /// Returns when the server admitted the connection, in milliseconds. `None` if it is the
    /// connection of another person, or if the server does not serve it any more.
    pub(crate) fn served_since(&self, person: &str) -> Option<u64> {
        let (admitted, connection) = self.admitted.get()?;
        let is_of = self.name.rsplit('-').next() == Some(person);
        (is_of && connection.is_open()).then_some(*admitted)
    }

    fn now(&self) -> u64 {
        let begin = self.trace.begin();
        u64::try_from((self.environment.now() - begin).as_millis()).unwrap_or(u64::MAX)
    }

    async fn latency(&self) {
        let random = self.environment.random_u64();
        // Most packets are fast, and some are slow.
        let max = if random.is_multiple_of(16) { 400 } else { 12 };
        self.sleep((random >> 8) % max).await;
    }

    async fn sleep(&self, milliseconds: u64) {
        if milliseconds > 0 {
            self.environment.sleep(Duration::from_millis(milliseconds)).await;
        }
    }

    /// Resolves when the connection is cut.
    async fn wait_for_cut(&self) {
        loop {
            let cut = self.cut.notified();
            if self.is_cut.load(Ordering::Relaxed) {
                return;
            }
            cut.await;
        }
    }

    /// Waits for a time in milliseconds. Returns `false` if the connection is cut meanwhile.
    async fn sleep_until_cut(&self, milliseconds: u64) -> bool {
        tokio::select! {
            biased;
            () = self.wait_for_cut() => false,
            () = self.sleep(milliseconds) => true,
        }
    }

    fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }
}

/// Runs a connection from its beginning to its end.
async fn run_connection(
    page: PageEnd,
    mut from_page: mpsc::UnboundedReceiver<String>,
    destination: Destination,
    max_unread: usize,
) {
    let shared = Arc::clone(&page.shared);
    shared.latency().await;
    if let Some(server) = destination
        && let Some((connection, outgoing)) =
            connect(&page, &mut from_page, &server, max_unread).await
    {
        shared.environment.spawn(forward_to_page(page.clone(), outgoing));
        shared.environment.spawn(ping(page.clone(), server.clone()));
        forward_to_server(&page, (&server, &connection), from_page).await;
        // The server notices the end at another time than the page.
        let (environment, closed) = (&shared.environment, Arc::clone(&shared));
        environment.spawn(async move {
            closed.latency().await;
            server.wait_while_paused().await;
            connection.close();
        });
    }
    shared.cut();
    shared.latency().await;
    if !shared.is_silent() {
        page.notify(Incoming::Closed);
    }
}

#[derive(Clone)]
struct PageEnd {
    shared: Arc<Shared>,
    number: u64,
    to_page: mpsc::UnboundedSender<(u64, Incoming)>,
}

impl PageEnd {
    fn notify(&self, incoming: Incoming) {
        // The page may be gone.
        let _ = self.to_page.send((self.number, incoming));
    }

    fn deliver(&self, packet: String) {
        if !self.shared.is_silent() {
            self.shared.trace.log(&self.shared.name, "←", &packet);
            self.notify(Incoming::Packet(packet));
        }
    }
}

/// Opens the session of Engine.IO and connects to the main namespace.
async fn connect(
    page: &PageEnd,
    from_page: &mut mpsc::UnboundedReceiver<String>,
    server: &Server,
    max_unread: usize,
) -> Option<(Connection, mpsc::Receiver<String>)> {
    server.wait_while_paused().await;
    page.deliver(format!(
        r#"0{{"sid":"e","upgrades":[],"pingInterval":{PING_INTERVAL},"pingTimeout":{PING_TIMEOUT},"maxPayload":4000000}}"#
    ));
    let shared = &page.shared;
    loop {
        let packet = tokio::select! {
            biased;
            () = shared.wait_for_cut() => return None,
            packet = from_page.recv() => packet?,
        };
        shared.latency().await;
        server.wait_while_paused().await;
        if shared.is_silent() {
            continue;
        }
        let Some(auth) = packet.strip_prefix("40") else { continue };
        let (outgoing, queued) = mpsc::channel(max_unread);
        let handshake = Request::get("/socket.io/?EIO=4&transport=websocket").body(()).ok()?;
        let connecting = server.server.connect(handshake, "/", Some(auth), outgoing);
        let connected = tokio::select! {
            biased;
            () = shared.wait_for_cut() => return None,
            connected = connecting => connected,
        };
        if let Ok(connection) = &connected {
            // It is set once: there is only one connection.
            let _ = shared.admitted.set((shared.now(), connection.clone()));
        }
        shared.latency().await;
        match connected {
            Ok(connection) => {
                page.deliver(format!(r#"40{{"sid":"{}"}}"#, connection.id()));
                return Some((connection, queued));
            }
            Err(message) => {
                page.deliver(format!("44{}", serde_json::json!({"message": message})));
            }
        }
    }
}

async fn forward_to_page(page: PageEnd, mut outgoing: mpsc::Receiver<String>) {
    let shared = Arc::clone(&page.shared);
    loop {
        let packet = tokio::select! {
            biased;
            () = shared.wait_for_cut() => return,
            packet = outgoing.recv() => packet,
        };
        // The server has ended the connection.
        let Some(packet) = packet else { return shared.cut() };
        shared.latency().await;
        let stalled_until = shared.stalled_until.load(Ordering::Relaxed);
        shared.sleep(stalled_until.saturating_sub(shared.now())).await;
        if shared.is_cut.load(Ordering::Relaxed) {
            return;
        }
        page.deliver(format!("4{packet}"));
    }
}

async fn forward_to_server(
    page: &PageEnd,
    (server, connection): (&Server, &Connection),
    mut from_page: mpsc::UnboundedReceiver<String>,
) {
    let shared = &page.shared;
    loop {
        let packet = tokio::select! {
            biased;
            () = shared.wait_for_cut() => return,
            packet = from_page.recv() => packet,
        };
        let Some(packet) = packet else { return };
        shared.latency().await;
        if shared.is_silent() {
            continue;
        }
        server.wait_while_paused().await;
        // The server may have crashed.
        if shared.is_cut.load(Ordering::Relaxed) {
            return;
        }
        shared.last_received.store(shared.now(), Ordering::Relaxed);
        shared.trace.log(&shared.name, "→", &packet);
        if let Some(event) = packet.strip_prefix("42") {
            let digits = event.bytes().take_while(u8::is_ascii_digit).count();
            let (ack, event) = event.split_at(digits);
            connection.event(event.to_owned(), ack.parse().ok());
        }
    }
}

/// Sends pings, and ends the connection if the page does not answer.
async fn ping(page: PageEnd, server: Server) {
    let shared = Arc::clone(&page.shared);
    if !shared.sleep_until_cut(PING_INTERVAL).await {
        return;
    }
    loop {
        server.wait_while_paused().await;
        let sent = shared.now();
        page.deliver("2".to_owned());
        if !shared.sleep_until_cut(PING_TIMEOUT).await {
            return;
        }
        server.wait_while_paused().await;
        if shared.last_received.load(Ordering::Relaxed) < sent {
            return shared.cut();
        }
        if !shared.sleep_until_cut(PING_INTERVAL - PING_TIMEOUT).await {
            return;
        }
    }
}
