//! The line between a browser and the server.
//!
//! A TCP proxy that does not interpret the data, and that a story can interrupt, freeze and repair.
//! Its address does not change, so a browser that reconnects meets the current state of the line.
//! It can also treat WebSockets as proxies do that do not know them.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch::{self, error::RecvError};

/// The beginning of the request line of a live connection. A browser sends the request line in one
/// piece.
const LIVE: &[u8] = b"GET /socket.io/";

/// The same for packets that a page sends without a WebSocket.
const LIVE_POST: &[u8] = b"POST /socket.io/";

/// A part of the request line of a WebSocket. A browser opens a TCP connection for each of them.
const WEBSOCKET: &str = "transport=websocket";

/// The answer of a proxy that does not know WebSockets.
const REFUSAL: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A line that can be interrupted. It closes all its connections when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    ends: Ends,
}

/// The state of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Everything is forwarded.
    Open,
    /// Data of the browser is forwarded, and data of the server is held back.
    Deaf,
    /// Connections stay open, and nothing is forwarded in either direction.
    Frozen,
    /// There are no connections, and new ones are refused.
    Cut,
}

/// The treatment of new WebSockets by a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebSockets {
    /// They work.
    #[default]
    Allow,
    /// The proxy answers with an error.
    Refuse,
    /// The proxy closes the connection.
    Drop,
    /// The server gets the request and answers, and the browser gets nothing.
    Hang,
}

/// The targets of a line, and what has happened on it.
#[derive(Debug, Clone)]
struct Ends {
    /// A connection goes to the first of them that accepts it.
    servers: Arc<[SocketAddr]>,
    pages: Option<SocketAddr>,
    faults: Arc<AtomicUsize>,
    /// The server of the last live connection.
    live: Arc<Mutex<Option<SocketAddr>>>,
    websockets: Arc<Mutex<WebSockets>>,
}

impl Ends {
    async fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(&*self.servers).await
    }

    /// Returns what happens to this connection. All but WebSockets are allowed.
    async fn treatment(&self, browser: &TcpStream) -> io::Result<WebSockets> {
        let websockets = *self.websockets.lock().unwrap_or_else(PoisonError::into_inner);
        let is_concerned = websockets != WebSockets::Allow && is_websocket(browser).await?;
        Ok(if is_concerned { websockets } else { WebSockets::Allow })
    }
}

/// The direction of data.
#[derive(Debug, Clone, Copy)]
enum Direction {
    ToServer,
    ToBrowser,
}

impl Proxy {
    /// Creates a line to a server.
    pub async fn to(server: SocketAddr) -> Self {
        Self::to_first_of(&[server]).await
    }

    /// Creates a line to the first of several servers that accepts a connection.
    pub async fn to_first_of(servers: &[SocketAddr]) -> Self {
        Self::new(servers, None).await
    }

    /// Creates a line for live connections and requests for records. Pages come from another
    /// server, whatever the state of the line is, as from a CDN or a service worker.
    pub async fn beside(pages: SocketAddr, server: SocketAddr) -> Self {
        Self::new(&[server], Some(pages)).await
    }

    async fn new(servers: &[SocketAddr], pages: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there are free ports");
        let address = listener.local_addr().expect("it is bound");
        let (line, state) = watch::channel(Line::Open);
        let (faults, live, websockets) = Default::default();
        let ends = Ends { servers: servers.into(), pages, faults, live, websockets };
        tokio::spawn(accept(listener, ends.clone(), state));
        Self { address, line, ends }
    }

    /// Returns the address for browsers: `http://127.0.0.1:port`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the address under another name: `http://localhost:port`, which is another origin for
    /// browsers.
    pub fn localhost(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// Closes all connections and refuses new ones.
    pub fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    /// Keeps connections open, and forwards nothing in either direction.
    pub fn freeze(&self) {
        self.line.send_replace(Line::Frozen);
    }

    /// Forwards data of the browser, and holds back data of the server.
    pub fn hold_responses(&self) {
        self.line.send_replace(Line::Deaf);
    }

    /// Forwards everything again, including data that was held back.
    pub fn repair(&self) {
        self.line.send_replace(Line::Open);
    }

    /// Sets what happens to WebSockets that are opened from now on.
    pub fn set_websockets(&self, websockets: WebSockets) {
        *self.ends.websockets.lock().unwrap_or_else(PoisonError::into_inner) = websockets;
    }

    /// Returns the number of connections that were closed or refused because the line was cut.
    pub fn faults(&self) -> usize {
        self.ends.faults.load(Ordering::SeqCst)
    }

    /// Returns the server of the last live connection.
    pub fn live_server(&self) -> SocketAddr {
        let live = *self.ends.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.expect("the page has connected")
    }
}

impl Line {
    fn carries(self, direction: Direction) -> bool {
        match (self, direction) {
            (Self::Open, _) | (Self::Deaf, Direction::ToServer) => true,
            (Self::Deaf, Direction::ToBrowser) | (Self::Frozen | Self::Cut, _) => false,
        }
    }
}

/// Accepts connections until the proxy is dropped.
async fn accept(listener: TcpListener, ends: Ends, line: watch::Receiver<Line>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = dropped(line.clone()) => return,
        };
        let Ok((browser, _)) = accepted else { continue };
        tokio::spawn(connect(browser, ends.clone(), line.clone()));
    }
}

/// Forwards one connection until it or the line ends.
async fn connect(
    mut browser: TcpStream,
    ends: Ends,
    mut line: watch::Receiver<Line>,
) -> io::Result<()> {
    browser.set_nodelay(true)?;
    if let Some(pages) = ends.pages
        && !is_for_server(&browser).await?
    {
        let mut pages = TcpStream::connect(pages).await?;
        ask_once(&mut browser, &mut pages).await?;
        return tokio::select! {
            carried = tokio::io::copy_bidirectional(&mut browser, &mut pages) => carried.map(drop),
            () = dropped(line) => Ok(()),
        };
    }
    if *line.borrow_and_update() == Line::Cut {
        // The proxy accepts the connection only to keep its port while the line is cut.
        ends.faults.fetch_add(1, Ordering::SeqCst);
        return Ok(());
    }
    let websockets = tokio::select! {
        websockets = ends.treatment(&browser) => websockets?,
        _ = becomes(&mut line, |line| line == Line::Cut) => return Ok(()),
    };
    match websockets {
        WebSockets::Refuse => return browser.write_all(REFUSAL).await,
        WebSockets::Drop => return Ok(()),
        WebSockets::Allow | WebSockets::Hang => {}
    }
    // Without a server, the proxy closes this end, and the browser sees that there is no server.
    let server = ends.connect().await?;
    server.set_nodelay(true)?;
    let address = server.peer_addr()?;
    let note_live = |data: &[u8]| {
        if data.starts_with(LIVE) {
            *ends.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
        }
    };
    let (from_browser, to_browser) = browser.into_split();
    let (from_server, to_server) = server.into_split();
    let mut state = line.clone();
    let requests = carry(from_browser, to_server, Direction::ToServer, line.clone(), note_live);
    let answers = async {
        match websockets {
            WebSockets::Hang => pending().await,
            _ => carry(from_server, to_browser, Direction::ToBrowser, line, |_| ()).await,
        }
    };
    tokio::select! {
        _ = async { tokio::join!(requests, answers) } => {}
        cut = becomes(&mut state, |line| line == Line::Cut) => {
            // Otherwise the proxy was dropped, which closes the connection.
            if cut.is_ok() {
                ends.faults.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    Ok(())
}

/// Returns whether a request is live, or for records. The server of the pages has neither.
async fn is_for_server(browser: &TcpStream) -> io::Result<bool> {
    let start = peek(browser).await?;
    let path = start.split(' ').nth(1).unwrap_or_default();
    let is_for_records = path.split(['/', '?']).nth(1) == Some("todo");
    let is_live = [LIVE, LIVE_POST].iter().any(|live| start.as_bytes().starts_with(live));
    Ok(is_live || is_for_records)
}

async fn is_websocket(browser: &TcpStream) -> io::Result<bool> {
    let start = peek(browser).await?;
    Ok(start.lines().next().is_some_and(|line| line.contains(WEBSOCKET)))
}

/// Returns the beginning of the first request.
async fn peek(browser: &TcpStream) -> io::Result<String> {
    let mut start = [0; 128];
    let length = browser.peek(&mut start).await?;
    Ok(String::from_utf8_lossy(&start[..length]).into_owned())
}

/// Forwards the first request as the last of its connection, so the browser uses each one once.
async fn ask_once(browser: &mut TcpStream, pages: &mut TcpStream) -> io::Result<()> {
    let mut head = vec![0; 16 * 1024];
    let length = browser.read(&mut head).await?;
    let head = String::from_utf8_lossy(&head[..length]);
    let head = head.replacen("Connection: keep-alive", "Connection: close", 1);
    pages.write_all(head.as_bytes()).await
}

/// Forwards data in one direction, while the line does, and passes it to `note` before.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    mut line: watch::Receiver<Line>,
    note: impl Fn(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let carries = |line: Line| line.carries(direction);
        becomes(&mut line, carries).await.map_err(io::Error::other)?;
        tokio::select! {
            // The state of the line is checked first: data that arrives right after a fault must
            // wait.
            biased;
            _ = becomes(&mut line, |line| !carries(line)) => {}
            read = from.read(&mut buffer) => match read? {
                0 => return to.shutdown().await,
                length => {
                    note(&buffer[..length]);
                    to.write_all(&buffer[..length]).await?;
                }
            },
        }
    }
}

/// Waits until the line has a certain state. Returns an error if the proxy was dropped.
async fn becomes(
    line: &mut watch::Receiver<Line>,
    is: impl Fn(Line) -> bool,
) -> Result<(), RecvError> {
    line.wait_for(|line| is(*line)).await.map(drop)
}

/// Waits until the proxy is dropped.
async fn dropped(mut line: watch::Receiver<Line>) {
    while line.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cut_line_serves_pages_but_no_live_connections() {
        let server = counter().await;
        let proxy = Proxy::beside(server, server).await;
        proxy.cut();
        let mut page = TcpStream::connect(proxy.address).await.unwrap();
        page.write_all(b"GET /").await.unwrap();
        assert_eq!(page.read_u8().await.unwrap(), b'G' + 1);
        let mut live = TcpStream::connect(proxy.address).await.unwrap();
        live.write_all(LIVE).await.unwrap();
        assert_eq!(live.read(&mut [0]).await.unwrap_or(0), 0);
        assert_eq!(proxy.faults(), 1);
    }

    /// Returns a line to a server that answers every byte with its successor.
    async fn line() -> (Proxy, TcpStream) {
        let proxy = Proxy::to(counter().await).await;
        let stream = TcpStream::connect(proxy.address).await.unwrap();
        (proxy, stream)
    }

    async fn counter() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        stream.write_u8(byte + 1).await.unwrap();
                    }
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream, byte: u8) -> io::Result<u8> {
        stream.write_u8(byte).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn open_line_forwards_in_both_directions() {
        let (_proxy, mut stream) = line().await;
        assert_eq!(ask(&mut stream, 1).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn cut_line_closes_connections_and_refuses_new_ones_until_it_is_repaired() {
        let (proxy, mut stream) = line().await;
        assert_eq!(ask(&mut stream, 1).await.unwrap(), 2);
        proxy.cut();
        assert!(stream.read_u8().await.is_err());
        let mut refused = TcpStream::connect(proxy.address).await.unwrap();
        assert!(refused.read_u8().await.is_err());
        assert_eq!(proxy.faults(), 2);
        proxy.repair();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut stream, 3).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn websockets_are_refused_dropped_or_not_answered_and_other_requests_are_forwarded() {
        for websockets in [WebSockets::Refuse, WebSockets::Drop, WebSockets::Hang] {
            let (proxy, mut stream) = line().await;
            proxy.set_websockets(websockets);
            assert_eq!(ask(&mut stream, 1).await.unwrap(), 2);
            let mut websocket = TcpStream::connect(proxy.address).await.unwrap();
            let request = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n";
            websocket.write_all(request).await.unwrap();
            match websockets {
                WebSockets::Refuse => assert_eq!(websocket.read_u8().await.unwrap(), b'H'),
                WebSockets::Drop => assert_eq!(websocket.read(&mut [0]).await.unwrap_or(0), 0),
                _ => tokio::select! {
                    biased;
                    _ = websocket.read_u8() => panic!("a WebSocket that hangs was answered"),
                    () = rounds(100) => {}
                },
            }
        }
    }

    #[tokio::test]
    async fn frozen_line_forwards_data_after_it_is_repaired() {
        let (proxy, mut stream) = line().await;
        assert_eq!(ask(&mut stream, 1).await.unwrap(), 2);
        proxy.freeze();
        stream.write_u8(3).await.unwrap();
        tokio::select! {
            biased;
            _ = stream.read_u8() => panic!("a frozen line carried something"),
            () = rounds(100) => {}
        }
        proxy.repair();
        assert_eq!(stream.read_u8().await.unwrap(), 4);
        assert_eq!(proxy.faults(), 0);
    }

    #[tokio::test]
    async fn dropped_line_closes_its_connections() {
        let (proxy, mut stream) = line().await;
        assert_eq!(ask(&mut stream, 1).await.unwrap(), 2);
        drop(proxy);
        assert!(stream.read_u8().await.is_err());
    }

    /// Yields to all other tasks this many times.
    async fn rounds(count: usize) {
        for _ in 0..count {
            tokio::task::yield_now().await;
        }
    }
}
