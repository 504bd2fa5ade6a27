//! A violation of the WebSocket protocol closes the connection with the close code of RFC 6455.
//! These tests write and read the bytes of both sides without a library.

use std::net::SocketAddr;
use std::time::Duration;

use backwire::Server;
use backwire::settings::Limits;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::raw::Raw;
use crate::client::{Socket, ask, builder, start};

const FINAL: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The maximum number of bytes of a message: four times the body limit.
const MAX: usize = 4000;

/// Returns a frame with any first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    header(first, payload.len() as u64).into_iter().chain(masked).collect()
}

fn header(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..126 => header.push(0x80 | length as u8),
        126..65536 => {
            header.push(0x80 | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header.extend(MASK);
    header
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FINAL | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// Returns a fragmented message.
fn fragments(opcode: u8, fragments: &[&[u8]]) -> Vec<u8> {
    let frames = fragments.iter().enumerate().flat_map(|(number, payload)| {
        let last = if number + 1 == fragments.len() { FINAL } else { 0 };
        frame(last | if number == 0 { opcode } else { CONTINUATION }, payload)
    });
    frames.collect()
}

/// Returns each violation: its name, its bytes and the close code.
fn violations() -> Vec<(String, Vec<u8>, u16)> {
    let mut all = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>, code| all.push((name.to_owned(), bytes, code));
    for bit in [0x40, 0x20, 0x10] {
        add("reserved bit in a text", frame(FINAL | bit | TEXT, b"3"), 1002);
        add("reserved bit in a ping", frame(FINAL | bit | PING, b""), 1002);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        add(&format!("opcode {opcode}"), frame(FINAL | opcode, b"x"), 1002);
    }
    add("text without a mask", b"\x81\x013".to_vec(), 1002);
    add("empty text without a mask", b"\x81\x00".to_vec(), 1002);
    add("ping without a mask", b"\x89\x00".to_vec(), 1002);
    add("close without a mask", b"\x88\x02\x03\xe8".to_vec(), 1002);
    for opcode in [CLOSE, PING, PONG] {
        add(&format!("fragment of control frame {opcode}"), frame(opcode, b""), 1002);
        add(&format!("long control frame {opcode}"), frame(FINAL | opcode, &[b'x'; 126]), 1002);
        add(&format!("very long control frame {opcode}"), header(FINAL | opcode, 1 << 40), 1002);
    }
    add("last continuation of nothing", frame(FINAL | CONTINUATION, b"3"), 1002);
    add("continuation of nothing", frame(CONTINUATION, b""), 1002);
    add("text in a text", [frame(TEXT, b"3"), frame(FINAL | TEXT, b"3")].concat(), 1002);
    add("binary in a text", [frame(TEXT, b"3"), frame(BINARY, b"3")].concat(), 1002);
    add("text in a binary", [frame(BINARY, b"3"), frame(FINAL | TEXT, b"3")].concat(), 1002);
    add("half a close code", frame(FINAL | CLOSE, b"\x03"), 1002);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        add(&format!("close code {code}"), close(code, b"why"), 1002);
    }
    let texts: [&[u8]; 8] = [
        b"\xff",
        b"4\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"\xe2\x82x",
    ];
    for text in texts {
        add(&format!("text {text:x?}"), frame(FINAL | TEXT, text), 1007);
        for at in 0..text.len() {
            let (begin, rest) = text.split_at(at);
            let bytes = fragments(TEXT, &[begin, b"", rest]);
            add(&format!("text {text:x?} in fragments, {at} first"), bytes, 1007);
        }
        add(&format!("close reason {text:x?}"), close(1000, text), 1007);
    }
    let bytes = [frame(TEXT, b"\xe2"), frame(FINAL | PING, b"\x82\xac"), frame(FINAL, b"")];
    add("character that goes on in a ping", bytes.concat(), 1007);
    add("wrong character in a text that goes on", frame(TEXT, b"\xed\xa0"), 1007);
    let mut bytes = header(FINAL | TEXT, 1000);
    bytes.extend([MASK[0] ^ b'x', MASK[1] ^ 0xff, MASK[2]]);
    add("wrong character in a frame that goes on", bytes, 1007);
    let long = |length: usize| vec![b'x'; length];
    add("large text", frame(FINAL | TEXT, &long(MAX + 1)), 1009);
    add("large binary", frame(FINAL | BINARY, &long(MAX + 1)), 1009);
    add("header of a large text", header(FINAL | TEXT, MAX as u64 + 1), 1009);
    add("header of a huge fragment", header(BINARY, 1 << 40), 1009);
    add("header of the largest text", header(FINAL | TEXT, u64::MAX), 1009);
    add("large text in fragments", fragments(TEXT, &[&long(MAX), b"", b"x"]), 1009);
    let fragment = [frame(BINARY, &long(MAX)), header(CONTINUATION, u64::MAX)];
    add("fragments whose sum is more than a number can be", fragment.concat(), 1009);
    all
}

/// The way in which a client opened its WebSocket.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    New,
    Upgraded,
    /// The upgrade has begun but is incomplete.
    Upgrading,
}

/// A raw WebSocket.
struct WebSocket {
    stream: TcpStream,
    engine: u8,
    /// The session id, if the session polled before.
    polling: Option<String>,
}

impl WebSocket {
    async fn open(server: &Server, engine: u8, way: Way) -> Self {
        let stream = TcpStream::connect(server.addr()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let polling = match way {
            Way::New => None,
            _ => Some(polling_session(server.addr(), engine).await),
        };
        let mut raw = Self { stream, engine, polling };
        raw.handshake().await;
        let begin = if raw.engine == 3 { "0{" } else { "0{\"sid\"" };
        match way {
            Way::New => {
                assert!(raw.text().await.starts_with(begin));
                if engine == 3 {
                    assert_eq!(raw.text().await, "40");
                }
            }
            Way::Upgraded => {
                raw.write(&frame(FINAL | TEXT, b"2probe")).await;
                assert_eq!(raw.text().await, "3probe");
                raw.write(&frame(FINAL | TEXT, b"5")).await;
            }
            Way::Upgrading => {}
        }
        raw
    }

    async fn handshake(&mut self) {
        let Self { engine, polling, .. } = &self;
        let session = polling.as_ref().map_or(String::new(), |session| format!("&sid={session}"));
        let head = format!(
            "GET /socket.io/?EIO={engine}&transport=websocket{session} HTTP/1.1\r\nhost: localhost\r\n\
             connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.write(head.as_bytes()).await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(self.stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
    }

    /// Joins the main namespace, which clients of Engine.IO 3 are in from the start.
    async fn connect(&mut self) {
        if self.engine == 4 {
            self.write(&frame(FINAL | TEXT, b"40")).await;
            assert!(self.text().await.starts_with("40{"));
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Receives the next frame of the server: its first byte and its payload.
    async fn frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await?;
        let length = match self.stream.read_u8().await? {
            126 => u64::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await?,
            length => u64::from(length),
        };
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok((first, payload))
    }

    async fn text(&mut self) -> String {
        let (first, payload) = self.frame().await.unwrap();
        assert_eq!(first, FINAL | TEXT);
        String::from_utf8(payload).unwrap()
    }

    /// Waits for a close frame and returns its code. Checks that the server then closes the TCP
    /// connection. Ignores frames before the close frame.
    async fn close_code(&mut self) -> Result<u16, String> {
        let close = async {
            loop {
                let (first, payload) = self.frame().await?;
                if first == FINAL | CLOSE {
                    break std::io::Result::Ok(payload);
                }
            }
        };
        let payload = timeout(Duration::from_secs(20), close).await.expect("it is closed");
        let payload = payload.map_err(|error| error.to_string())?;
        let code = payload.first_chunk().ok_or("a close without a code")?;
        let end = timeout(Duration::from_secs(20), self.stream.read_u8()).await;
        match end.expect("the connection is closed") {
            Ok(_) => Err("there is more after the close".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Ok(u16::from_be_bytes(*code))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes bytes in parts. The server may close the connection before all are written.
    async fn write_in_parts(&mut self, bytes: &[u8], random: &mut StdRng) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(random.random_range(1..=rest.len().min(40)));
            if self.stream.write_all(part).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
            rest = after;
        }
    }

    /// Polls the session of an upgraded or upgrading WebSocket, and returns the status.
    async fn poll(&self, server: &Server) -> u16 {
        let session = self.polling.as_ref().unwrap();
        let url = format!("{}&sid={session}", polling_url(self.engine));
        Raw::connect(server.addr()).await.get(&url).await.unwrap().status
    }
}

fn polling_url(engine: u8) -> String {
    format!("/socket.io/?EIO={engine}&transport=polling")
}

/// Opens a new polling session.
async fn polling_session(addr: SocketAddr, engine: u8) -> String {
    let opened = Raw::connect(addr).await.get(&polling_url(engine)).await.unwrap().body;
    let (_, session) = opened.split_once("\"sid\":\"").unwrap();
    session.split_once('"').unwrap().0.to_owned()
}

async fn limited() -> Server {
    let mut limits = Limits::default();
    // These tests open many sessions without a CONNECT from one address.
    limits.unconnected_sessions_per_address = usize::MAX;
    start(builder().body_limit(MAX / 4).limits(limits)).await
}

const WAYS: [(u8, Way); 4] = [(4, Way::New), (3, Way::New), (4, Way::Upgraded), (3, Way::Upgraded)];

#[tokio::test]
async fn each_violation_closes_with_its_code() {
    let server = limited().await;
    let mut wrong = Vec::new();
    for (name, bytes, code) in violations() {
        for (engine, way) in WAYS {
            let mut client = WebSocket::open(&server, engine, way).await;
            client.write(&bytes).await;
            let closed = client.close_code().await;
            if closed != Ok(code) {
                wrong.push(format!("{name}, engine {engine}, {way:?}: {code}, not {closed:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    server.shutdown().await;
}

#[tokio::test]
async fn violation_after_valid_frames_closes_with_its_code_in_any_segmentation() {
    let seed = std::env::var("BACKWIRE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("BACKWIRE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server = limited().await;
    for (name, bytes, code) in violations() {
        let (engine, way) = WAYS[random.random_range(0..WAYS.len())];
        let before = [
            frame(FINAL | PING, b"here"),
            fragments(TEXT, &[b"42[\"get\",{\"url\":\"/todo?x=\xc3", b"\xa4", b"\"}]"]),
            frame(FINAL | PONG, b""),
        ];
        let mut client = WebSocket::open(&server, engine, way).await;
        client.connect().await;
        client.write_in_parts(&[&before.concat(), &bytes[..]].concat(), &mut random).await;
        assert_eq!(client.close_code().await, Ok(code), "{name}, engine {engine}, {way:?}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn valid_frames_do_not_close_the_connection() {
    let server = limited().await;
    for (engine, way) in WAYS {
        let mut client = WebSocket::open(&server, engine, way).await;
        let request = br#"421["get",{"url":"/todo"}]"#;
        let at = request.len() / 2;
        let text = "421[\"get\",{\"url\":\"/todo\",\"data\":{},\"x\":\"ä€😀\"}]".as_bytes();
        let large = [&request[..], &vec![b' '; MAX - request.len()]].concat();
        client.connect().await;
        for bytes in [
            frame(FINAL | TEXT, request),
            fragments(TEXT, &[b"", &request[..at], b"", &request[at..], b""]),
            fragments(TEXT, &text.chunks(1).collect::<Vec<_>>()),
            [frame(TEXT, request), frame(FINAL | PONG, &[b'x'; 125]), frame(FINAL, b"")].concat(),
            frame(FINAL | TEXT, &large),
        ] {
            client.write(&bytes).await;
            loop {
                let text = client.text().await;
                if text.starts_with("431[") {
                    break;
                }
                assert!(
                    text.starts_with("40") || text.starts_with("42"),
                    "{text}, engine {engine}, {way:?}"
                );
            }
        }
        client.write(&frame(FINAL | PING, &[0xff; 125])).await;
        assert_eq!(client.frame().await.unwrap(), (FINAL | PONG, vec![0xff; 125]));
        client.write(&close(4999, "därum".as_bytes())).await;
        assert_eq!(client.close_code().await, Ok(4999), "engine {engine}, {way:?}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn violation_in_an_upgrade_closes_with_its_code_and_ends_the_session() {
    let server = limited().await;
    for engine in [3, 4] {
        for (bytes, code) in [(frame(FINAL | TEXT, b"\xff"), 1007), (b"\x81\x00".to_vec(), 1002)] {
            for way in [Way::Upgrading, Way::Upgraded] {
                let mut client = WebSocket::open(&server, engine, way).await;
                client.write(&bytes).await;
                assert_eq!(client.close_code().await, Ok(code));
                let over = async { while client.poll(&server).await != 400 {} };
                timeout(Duration::from_secs(20), over).await.unwrap();
            }
        }
    }
    server.shutdown().await;
}

/// If the server closed the connection with unread bytes, the operating system would reset it and
/// the client would not receive the close frame.
#[tokio::test]
async fn client_that_continues_to_send_gets_the_close_code() {
    let server = limited().await;
    let mut client = WebSocket::open(&server, 4, Way::New).await;
    let other = client.stream.into_std().unwrap();
    client.stream = TcpStream::from_std(other.try_clone().unwrap()).unwrap();
    let mut writer = TcpStream::from_std(other).unwrap();
    let sending = tokio::spawn(async move {
        let bytes = frame(FINAL | TEXT, &vec![b'x'; 8 << 20]);
        writer.write_all(&bytes).await
    });
    assert_eq!(client.close_code().await, Ok(1009));
    drop(client);
    // This may fail, because the server stops reading at some time.
    let _ = sending.await.unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn answer_in_progress_is_completed_before_the_close() {
    let server = start(builder()).await;
    for _ in 0..10 {
        let todo = json!({ "text": "x".repeat(200_000) });
        assert_eq!(ask(&server, reqwest::Method::POST, "/todo", todo).await.0, 201);
    }
    let small = TcpSocket::new_v4().unwrap();
    small.set_recv_buffer_size(4096).unwrap();
    let stream = small.connect(server.addr()).await.unwrap();
    let mut client = WebSocket { stream, engine: 4, polling: None };
    client.handshake().await;
    assert!(client.text().await.starts_with("0{"));
    client.connect().await;
    client.write(&frame(FINAL | TEXT, br#"421["get",{"url":"/todo"}]"#)).await;
    let mut begin = [0; 14];
    client.stream.read_exact(&mut begin).await.unwrap();
    assert_eq!((&begin[..2], &begin[10..]), (&[FINAL | TEXT, 127][..], &b"431["[..]));
    let length = u64::from_be_bytes(*begin[2..].first_chunk().unwrap());
    assert!(length > 2_000_000);
    client.write(&frame(FINAL | TEXT, b"\xff")).await;
    // The server has answered another client, so it has had time to find the violation.
    Socket::stock(&server).await.get("/todo/1").await;
    let mut rest = vec![0; length as usize - 4];
    client.stream.read_exact(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"]"));
    assert_eq!(client.close_code().await, Ok(1007));
    server.shutdown().await;
}
