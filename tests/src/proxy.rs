//! The line between a browser and the server.
//!
//! A proxy for TCP that knows nothing of what it carries and does what lines do: it breaks, it goes
//! silent, it comes back. The address stays the same all the while, so a browser that tries again
//! finds whatever the line is like by then.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch::{self, error::RecvError};

/// How the first line of a live connection starts. A browser sends a first line in one piece.
const LIVE: &[u8] = b"GET /socket.io/";

/// A line that can be broken. It is gone, with all its connections, when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    faults: Arc<AtomicUsize>,
}

/// What the line is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Everything arrives.
    Open,
    /// What the browser says arrives, and nothing comes back.
    Deaf,
    /// Connections stand, and nothing arrives on either side.
    Frozen,
    /// There are no connections, and none can be made.
    Cut,
}

/// Where a line leads, and what has become of it.
#[derive(Debug, Clone)]
struct Ends {
    server: SocketAddr,
    pages: Option<SocketAddr>,
    faults: Arc<AtomicUsize>,
}

/// Where bytes are going.
#[derive(Debug, Clone, Copy)]
enum Direction {
    ToServer,
    ToBrowser,
}

impl Proxy {
    /// A line that leads to a server.
    pub async fn to(server: SocketAddr) -> Self {
        Self::new(server, None).await
    }

    /// A line for what is live. Pages come from a server of their own, and arrive whatever the line is
    /// like: as with a network for pages, or a service worker.
    pub async fn beside(pages: SocketAddr, server: SocketAddr) -> Self {
        Self::new(server, Some(pages)).await
    }

    async fn new(server: SocketAddr, pages: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there are free ports");
        let address = listener.local_addr().expect("it is bound");
        let (line, state) = watch::channel(Line::Open);
        let faults = Arc::new(AtomicUsize::new(0));
        let ends = Ends { server, pages, faults: faults.clone() };
        tokio::spawn(accept(listener, ends, state));
        Self { address, line, faults }
    }

    /// Where the browser's end is: `http://127.0.0.1:port`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The browser's end under its other name: `http://localhost:port`, to browsers another origin.
    pub fn localhost(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// Closes all connections and refuses new ones.
    pub fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    /// Keeps connections as they are, and lets nothing through in either direction.
    pub fn freeze(&self) {
        self.line.send_replace(Line::Frozen);
    }

    /// Lets through what the browser says, and keeps back what it should hear.
    pub fn deafen(&self) {
        self.line.send_replace(Line::Deaf);
    }

    /// Lets everything through again, also what was kept back.
    pub fn mend(&self) {
        self.line.send_replace(Line::Open);
    }

    /// How many connections were closed or refused because the line was cut.
    pub fn faults(&self) -> usize {
        self.faults.load(Ordering::SeqCst)
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

/// Takes connections until the proxy is dropped.
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

/// Carries one connection to its end or to that of the line.
async fn connect(
    mut browser: TcpStream,
    ends: Ends,
    mut line: watch::Receiver<Line>,
) -> io::Result<()> {
    browser.set_nodelay(true)?;
    if let Some(pages) = ends.pages
        && !is_live(&browser).await?
    {
        if is_for_records(&browser).await? {
            return Ok(());
        }
        let mut pages = TcpStream::connect(pages).await?;
        ask_once(&mut browser, &mut pages).await?;
        return tokio::select! {
            carried = tokio::io::copy_bidirectional(&mut browser, &mut pages) => carried.map(drop),
            () = dropped(line) => Ok(()),
        };
    }
    if *line.borrow_and_update() == Line::Cut {
        // It was only taken because the port must stay ours while the line is cut.
        ends.faults.fetch_add(1, Ordering::SeqCst);
        return Ok(());
    }
    // Without a server this end is closed again, and the browser sees that nobody is there.
    let server = TcpStream::connect(ends.server).await?;
    server.set_nodelay(true)?;
    let (from_browser, to_browser) = browser.into_split();
    let (from_server, to_server) = server.into_split();
    let mut state = line.clone();
    tokio::select! {
        _ = async { tokio::join!(
            carry(from_browser, to_server, Direction::ToServer, line.clone()),
            carry(from_server, to_browser, Direction::ToBrowser, line),
        ) } => {}
        cut = becomes(&mut state, |line| line == Line::Cut) => {
            // Otherwise the proxy was dropped, and the connection goes with it.
            if cut.is_ok() {
                ends.faults.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    Ok(())
}

async fn is_live(browser: &TcpStream) -> io::Result<bool> {
    let mut start = [0; LIVE.len()];
    let length = browser.peek(&mut start).await?;
    Ok(&start[..length] == LIVE)
}

/// Returns whether a request is for records, which the server of the pages does not have.
async fn is_for_records(browser: &TcpStream) -> io::Result<bool> {
    let mut start = [0; 64];
    let length = browser.peek(&mut start).await?;
    let start = String::from_utf8_lossy(&start[..length]);
    let path = start.split(' ').nth(1).unwrap_or_default();
    Ok(path.split(['/', '?']).nth(1) == Some("todo"))
}

/// Forwards the first request as the last of its connection, so the browser uses each one once.
async fn ask_once(browser: &mut TcpStream, pages: &mut TcpStream) -> io::Result<()> {
    let mut head = vec![0; 16 * 1024];
    let length = browser.read(&mut head).await?;
    let head = String::from_utf8_lossy(&head[..length]);
    let head = head.replacen("Connection: keep-alive", "Connection: close", 1);
    pages.write_all(head.as_bytes()).await
}

/// Carries what is said in one direction, while the line does.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    mut line: watch::Receiver<Line>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let carries = |line: Line| line.carries(direction);
        becomes(&mut line, carries).await.map_err(io::Error::other)?;
        tokio::select! {
            // The line first: what is said after a fault must wait, however soon after.
            biased;
            _ = becomes(&mut line, |line| !carries(line)) => {}
            read = from.read(&mut buffer) => match read? {
                0 => return to.shutdown().await,
                length => to.write_all(&buffer[..length]).await?,
            },
        }
    }
}

/// Waits until the line is as described. An error says that the proxy was dropped.
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
    async fn a_page_arrives_while_the_line_is_cut_and_nothing_live_does() {
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

    /// A line to someone who answers every byte with its successor.
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
    async fn an_open_line_carries_both_ways() {
        let (_proxy, mut stream) = line().await;
        assert_eq!(ask(&mut stream, 1).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_cut_line_closes_connections_and_refuses_new_ones_until_it_is_mended() {
        let (proxy, mut stream) = line().await;
        assert_eq!(ask(&mut stream, 1).await.unwrap(), 2);
        proxy.cut();
        assert!(stream.read_u8().await.is_err());
        let mut refused = TcpStream::connect(proxy.address).await.unwrap();
        assert!(refused.read_u8().await.is_err());
        assert_eq!(proxy.faults(), 2);
        proxy.mend();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut stream, 3).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn a_frozen_line_carries_later_what_was_said() {
        let (proxy, mut stream) = line().await;
        assert_eq!(ask(&mut stream, 1).await.unwrap(), 2);
        proxy.freeze();
        stream.write_u8(3).await.unwrap();
        tokio::select! {
            biased;
            _ = stream.read_u8() => panic!("a frozen line carried something"),
            () = rounds(100) => {}
        }
        proxy.mend();
        assert_eq!(stream.read_u8().await.unwrap(), 4);
        assert_eq!(proxy.faults(), 0);
    }

    #[tokio::test]
    async fn a_dropped_line_is_gone() {
        let (proxy, mut stream) = line().await;
        assert_eq!(ask(&mut stream, 1).await.unwrap(), 2);
        drop(proxy);
        assert!(stream.read_u8().await.is_err());
    }

    /// Gives all other tasks their turn, so many times.
    async fn rounds(count: usize) {
        for _ in 0..count {
            tokio::task::yield_now().await;
        }
    }
}
