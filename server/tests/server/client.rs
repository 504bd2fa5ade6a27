//! A client that reads and writes raw frames, so that tests see the frames and not a library's view
//! of them.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use backwire::server::Builder;
use backwire::settings::Store;
use backwire::{Client, Context, Server};
use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async_with_config};

/// A test fails after this time without an expected frame.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The auth that the runtime sends when it connects.
pub(crate) const RUNTIME: &str = r#"{"backwire":1}"#;

/// Starts a server with default settings on a free port.
pub(crate) async fn server() -> Server {
    start(builder()).await
}

pub(crate) fn builder() -> Builder {
    Server::builder().port(0).store(Store::Memory)
}

pub(crate) async fn start(builder: Builder) -> Server {
    builder.bind().await.unwrap()
}

/// Returns the connection of the caller, for the routes of a test.
pub(crate) fn socket_of(cx: &Context) -> Client {
    cx.client().cloned().unwrap()
}

fn request(addr: SocketAddr, query: &str) -> Request {
    let url = format!("ws://{addr}/socket.io/?transport=websocket&{query}");
    url.into_client_request().unwrap()
}

fn handshake(addr: SocketAddr, query: &str, headers: &[(&'static str, &str)]) -> Request {
    let mut request = request(addr, &format!("EIO=4{query}"));
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

pub(crate) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A raw Socket.IO connection.
pub(crate) struct Socket {
    stream: Stream,
    acks: u64,
    /// Frames that arrived while the client waited for another one.
    buffered: VecDeque<String>,
}

impl Socket {
    /// Connects a client that behaves like the runtime.
    pub(crate) async fn runtime(server: &Server) -> Self {
        Self::runtime_at(server.addr()).await
    }

    /// Connects a runtime to a server that may be another process.
    pub(crate) async fn runtime_at(addr: SocketAddr) -> Self {
        Self::connected(addr, RUNTIME).await
    }

    /// Connects a stock client.
    pub(crate) async fn stock(server: &Server) -> Self {
        Self::connected(server.addr(), "").await
    }

    /// Connects a runtime to a server with another path of Socket.IO, which ends with a slash.
    pub(crate) async fn runtime_below(addr: SocketAddr, path: &str) -> Self {
        let request = format!("ws://{addr}{path}?EIO=4&transport=websocket");
        let (stream, _) = connect_async_with_config(request, None, true).await.unwrap();
        Self::opened(stream).await.joined(RUNTIME).await
    }

    /// Connects a client whose receive buffer is very small.
    pub(crate) async fn with_small_buffer(server: &Server, auth: &str) -> Self {
        Self::open_with_small_buffer(server.addr(), handshake(server.addr(), "", &[]))
            .await
            .joined(auth)
            .await
    }

    /// Connects a client of Socket.IO 2 with a small receive buffer. The server connects it without
    /// a CONNECT.
    pub(crate) async fn socket_io_2(server: &Server) -> Self {
        let mut socket =
            Self::open_with_small_buffer(server.addr(), request(server.addr(), "EIO=3")).await;
        assert_eq!(socket.next_frame().await, "40");
        socket
    }

    /// Connects a client of Socket.IO 2 in a page of this origin.
    pub(crate) async fn socket_io_2_of_page(server: &Server, origin: &str) -> Self {
        let mut request = request(server.addr(), "EIO=3");
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let mut socket = Self::open_with_small_buffer(server.addr(), request).await;
        assert_eq!(socket.next_frame().await, "40");
        socket
    }

    async fn open_with_small_buffer(addr: SocketAddr, request: Request) -> Self {
        let small = TcpSocket::new_v4().unwrap();
        small.set_recv_buffer_size(4096).unwrap();
        small.set_nodelay(true).unwrap();
        let stream = MaybeTlsStream::Plain(small.connect(addr).await.unwrap());
        let (stream, _) = client_async(request, stream).await.unwrap();
        Self::opened(stream).await
    }

    async fn connected(addr: SocketAddr, auth: &str) -> Self {
        Self::open_at(addr, &[]).await.unwrap().joined(auth).await
    }

    async fn joined(self, auth: &str) -> Self {
        let mut socket = self;
        socket.send(format!("40{auth}")).await;
        assert!(socket.next_frame().await.starts_with("40{\"sid\":"));
        socket
    }

    /// Opens a transport without a CONNECT.
    pub(crate) async fn open(
        server: &Server,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tungstenite::Error> {
        Self::open_at(server.addr(), headers).await
    }

    pub(crate) async fn open_at(
        addr: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tungstenite::Error> {
        let request = handshake(addr, "", headers);
        let (stream, _) = connect_async_with_config(request, None, true).await?;
        Ok(Self::opened(stream).await)
    }

    /// Connects with additional query parameters, which begin with `&`, and with these headers.
    pub(crate) async fn connect_with(
        server: &Server,
        query: &str,
        headers: &[(&'static str, &str)],
        auth: &str,
    ) -> Self {
        let request = handshake(server.addr(), query, headers);
        let (stream, _) = connect_async_with_config(request, None, true).await.unwrap();
        Self::opened(stream).await.joined(auth).await
    }

    /// Opens a transport with additional query parameters, without a CONNECT.
    pub(crate) async fn open_with_query(server: &Server, query: &str) -> Self {
        let request = handshake(server.addr(), query, &[]);
        let (stream, _) = connect_async_with_config(request, None, true).await.unwrap();
        Self::opened(stream).await
    }

    /// Upgrades a polling session to a WebSocket.
    pub(crate) async fn upgraded(server: &Server, session: &str) -> Self {
        let mut socket = Self::upgrading(server, session).await;
        socket.send("5").await;
        socket
    }

    /// Begins to upgrade a polling session to a WebSocket. Sending `5` completes the upgrade.
    pub(crate) async fn upgrading(server: &Server, session: &str) -> Self {
        let request = handshake(server.addr(), &format!("&sid={session}"), &[]);
        let (stream, _) = connect_async_with_config(request, None, true).await.unwrap();
        let mut socket = Self { stream, acks: 0, buffered: VecDeque::new() };
        socket.send("2probe").await;
        assert_eq!(socket.next_frame().await, "3probe");
        socket
    }

    async fn opened(stream: Stream) -> Self {
        let mut socket = Self { stream, acks: 0, buffered: VecDeque::new() };
        assert!(socket.next_frame().await.starts_with("0{"));
        socket
    }

    pub(crate) async fn send(&mut self, frame: impl Into<String>) {
        self.stream.send(Message::text(frame.into())).await.unwrap();
    }

    /// Sends a frame. Returns an error if the connection is closed.
    pub(crate) async fn try_send(&mut self, frame: String) -> Result<(), tungstenite::Error> {
        self.stream.send(Message::text(frame)).await
    }

    /// Sends a raw WebSocket message.
    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.stream.send(message).await.unwrap();
    }

    pub(crate) async fn try_send_raw(&mut self, raw: Message) -> Result<(), tungstenite::Error> {
        self.stream.send(raw).await
    }

    /// Returns the raw WebSocket stream.
    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Adds a frame to the send buffer without sending it.
    pub(crate) async fn feed(&mut self, frame: impl Into<String>) {
        self.stream.feed(Message::text(frame.into())).await.unwrap();
    }

    /// Sends the buffered frames.
    pub(crate) async fn flush(&mut self) {
        self.stream.flush().await.unwrap();
    }

    /// Receives the next frame except pings, or `None` if the connection is closed.
    pub(crate) async fn frame(&mut self) -> Option<String> {
        loop {
            let next = timeout(TEST_TIMEOUT, self.stream.next()).await.expect("something comes");
            match next? {
                Ok(Message::Text(text)) if text.as_str() == "2" => {
                    self.try_send("3".to_owned()).await.ok()?;
                }
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Waits until the server closes the connection. Ignores frames before that.
    pub(crate) async fn wait_for_close(&mut self) {
        while self.frame().await.is_some() {}
    }

    pub(crate) async fn next_frame(&mut self) -> String {
        match self.buffered.pop_front() {
            Some(frame) => frame,
            None => self.frame().await.expect("the connection is open"),
        }
    }

    /// Receives the next event: its name and arguments.
    pub(crate) async fn event(&mut self) -> Value {
        let frame = self.next_frame().await;
        serde_json::from_str(frame.strip_prefix("42").expect("it is an event")).unwrap()
    }

    /// Receives this many changes of a room, and checks that there is no gap between them.
    pub(crate) async fn changes(&mut self, room: &str, count: usize) -> Value {
        let mut changes: Vec<Value> = Vec::new();
        while changes.len() < count {
            let push = self.event().await;
            assert_eq!(push[1], room);
            assert!(changes.last().is_none_or(|last| last[0] == push[3]), "a gap before {push}");
            changes.extend(push[4].as_array().unwrap().iter().cloned());
        }
        changes.into()
    }

    /// Sends an event and returns its ack id.
    pub(crate) async fn emit(&mut self, event: &Value) -> u64 {
        self.acks += 1;
        self.send(format!("42{}{event}", self.acks)).await;
        self.acks
    }

    /// Receives the argument of an ack. Frames that arrive before it are buffered.
    pub(crate) async fn ack(&mut self, number: u64) -> Value {
        let head = format!("43{number}[");
        let mut waiting = std::mem::take(&mut self.buffered);
        loop {
            let frame = match waiting.pop_front() {
                Some(frame) => frame,
                None => self.frame().await.expect("the connection is open"),
            };
            if let Some(rest) = frame.strip_prefix(&head) {
                self.buffered.append(&mut waiting);
                return serde_json::from_str(rest.strip_suffix(']').unwrap()).unwrap();
            }
            self.buffered.push_back(frame);
        }
    }

    /// Sends an event and waits for its ack.
    pub(crate) async fn ask(&mut self, event: Value) -> Value {
        let number = self.emit(&event).await;
        self.ack(number).await
    }

    pub(crate) async fn get(&mut self, url: &str) -> Value {
        self.ask(json!(["get", { "url": url }])).await
    }

    pub(crate) async fn post(&mut self, url: &str, data: Value) -> Value {
        self.ask(json!(["post", { "url": url, "data": data }])).await
    }

    pub(crate) async fn put(&mut self, url: &str, data: Value) -> Value {
        self.ask(json!(["put", { "url": url, "data": data }])).await
    }

    pub(crate) async fn delete(&mut self, url: &str) -> Value {
        self.ask(json!(["delete", { "url": url }])).await
    }

    /// Returns all events that the server has pushed so far. They arrive before the answer to a new
    /// request.
    pub(crate) async fn pushes(&mut self) -> Vec<String> {
        self.get("/fence/1").await;
        self.buffered_frames()
    }

    /// Returns the frames that arrived while the client waited for another one.
    pub(crate) fn buffered_frames(&mut self) -> Vec<String> {
        self.buffered.drain(..).collect()
    }
}

/// Sends a request over plain HTTP, with a JSON body unless it is null. Returns status and body.
pub(crate) async fn ask(
    server: &Server,
    method: impl TryInto<Method, Error: Debug>,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let url = format!("http://{}{path}", server.addr());
    let request = reqwest::Client::new().request(method.try_into().unwrap(), url);
    let request = if body.is_null() { request } else { request.json(&body) };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

/// Parses frames with events: the name and arguments of each.
pub(crate) fn events(frames: &[String]) -> Vec<Value> {
    frames.iter().map(|frame| serde_json::from_str(&frame[2..]).unwrap()).collect()
}

/// Returns `[status, code]` of a refusal.
pub(crate) fn refusal(ack: &Value) -> Value {
    json!([ack["statusCode"], ack["body"]["code"]])
}

/// Returns the epoch and offset of an ack.
pub(crate) fn position(ack: &Value) -> (u64, u64) {
    let text = ack["headers"]["backwire-position"].as_str().expect("it has a position");
    let (epoch, offset) = text.split_once(':').unwrap();
    (epoch.parse().unwrap(), offset.parse().unwrap())
}
