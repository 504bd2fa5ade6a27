//! Compares the checker with tungstenite, and tests the stream with a client.

mod generator;

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::task;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use self::generator::{Frames, Generator, frame};
use super::*;
use backwire_engine::Environment;

use crate::http::uploads::UploadMemory;

/// Bytes that a message may have.
const MAX: usize = 200;

/// The verdict on frames: the number of the frame that ends the connection, and the close code. The
/// code is `None` for a valid close frame.
type Verdict = Option<(usize, Option<u16>)>;

/// Bytes that arrive one frame after another.
#[derive(Default)]
struct Incoming(VecDeque<u8>);

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the verdict of tungstenite.
fn tungstenite_verdict(frames: &Frames, max: Option<usize>) -> Verdict {
    let config = WebSocketConfig::default().max_message_size(max).max_frame_size(max);
    let mut socket = WebSocket::from_raw_socket(Incoming::default(), Role::Server, Some(config));
    for (number, place) in frames.places.iter().enumerate() {
        socket.get_mut().0.extend(&frames.bytes[place.clone()]);
        loop {
            let code = match socket.read() {
                Ok(Message::Close(Some(close))) if close.reason == "Protocol violation" => {
                    Some(1002)
                }
                Ok(Message::Close(_)) => None,
                Ok(_) => continue,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(Error::Protocol(_)) => Some(1002),
                Err(Error::Utf8(_)) => Some(1007),
                Err(Error::Capacity(_)) => Some(1009),
                Err(error) => panic!("{error}"),
            };
            return Some((number, code));
        }
    }
    None
}

/// Returns the verdict of the checker for random parts, and the violation that it found.
fn checker_verdict(
    frames: &Frames,
    max: usize,
    random: &mut StdRng,
) -> (Verdict, Option<Violation>) {
    let mut checker = FrameChecker::new(max);
    let mut at = 0;
    while at < frames.bytes.len() {
        let max_part = *[1, 3, 20, 1000].choose(random).unwrap();
        let end = (at + random.random_range(1..=max_part)).min(frames.bytes.len());
        if let Err(Rejection { accepted, violation }) = checker.check(&frames.bytes[at..end]) {
            assert!(at + accepted < end, "all bytes were accepted");
            let accepted = at + accepted;
            let mut before = Frames::default();
            before.push(&frames.bytes[..accepted]);
            assert_eq!(
                tungstenite_verdict(&before, Some(max)),
                None,
                "tungstenite has found the violation earlier"
            );
            let code = violation.code();
            return (Some((frames.number(accepted), Some(code))), Some(violation));
        }
        if checker.is_closed() {
            return (Some((frames.close(max), None)), None);
        }
        at = end;
    }
    (None, None)
}

/// If a frame breaks two rules, one of which is its size, each of the two codes is right.
#[test]
fn random_frames_in_random_parts_get_the_verdict_of_tungstenite() {
    let seed = std::env::var("BACKWIRE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("BACKWIRE_SEED={seed}");
    let mut generator = Generator::new(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let (mut found, mut good, mut closed) = (BTreeSet::new(), 0, 0);
    for number in 0..10_000 {
        let frames = generator.frames();
        // A control frame may be larger than a limit, too.
        let max = *[MAX, MAX, 100].choose(&mut random).unwrap();
        let (verdict, violation) = checker_verdict(&frames, max, &mut random);
        let limited = tungstenite_verdict(&frames, Some(max));
        let is_right = verdict == limited
            || (tungstenite_verdict(&frames, None) == verdict
                && verdict.map(|(frame, _)| frame) == limited.map(|(frame, _)| frame));
        assert!(is_right, "{number}: {verdict:?} and not {limited:?}: {:x?}", frames.bytes);
        found.extend(violation.map(|violation| violation.reason()));
        good += usize::from(verdict.is_none());
        closed += usize::from(matches!(verdict, Some((_, None))));
    }
    assert_eq!(found.len(), 10, "some violations did not come: {found:?}");
    assert!(good > 500 && closed > 500, "{good} good, {closed} closed");
}

/// The frame with a violation, and the close that follows it.
const NOT_MASKED: [u8; 3] = [0x81, 1, b'x'];

fn close_frame() -> Vec<u8> {
    Violation::NotMasked.close_frame()
}

fn incoming() -> IncomingMemory {
    let memory = UploadMemory::new(Environment::tokio(), 1 << 20, 1, Arc::default());
    IncomingMemory::new(memory, None, None, Arc::default())
}

fn pair() -> (DuplexStream, CheckedStream<DuplexStream>) {
    let (client, server) = duplex(1000);
    (client, CheckedStream::new(server, (MAX, MAX), incoming()).0)
}

async fn sent(mut client: DuplexStream) -> Vec<u8> {
    let mut sent = Vec::new();
    client.read_to_end(&mut sent).await.unwrap();
    sent
}

#[tokio::test]
async fn reader_gets_the_bytes_before_a_violation_and_the_end() {
    let (mut client, mut stream) = pair();
    let before = frame(0x81, b"before");
    client.write_all(&[&before[..], &NOT_MASKED, &before].concat()).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    // The part of a frame that may arrive with it is not enough to read the frame.
    assert_eq!(read, [&before[..], &NOT_MASKED[..1]].concat());
    drop(stream);
    assert_eq!(sent(client).await, close_frame());
}

#[tokio::test]
async fn close_frame_comes_after_the_frame_that_the_server_is_sending() {
    let (mut client, mut stream) = pair();
    let sending = frame(0x81, &[b'x'; 150]);
    stream.write_all(&sending[..70]).await.unwrap();
    client.write_all(&NOT_MASKED).await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    stream.write_all(&sending[70..]).await.unwrap();
    drop(stream);
    assert_eq!(sent(client).await, [sending, close_frame()].concat());
}

#[tokio::test]
async fn close_frame_comes_neither_inside_of_a_frame_nor_after_another_one() {
    for sending in [&frame(0x81, b"x")[..6], &[0x81], &[0x88, 0]] {
        let (mut client, mut stream) = pair();
        stream.write_all(sending).await.unwrap();
        client.write_all(&NOT_MASKED).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        drop(stream);
        assert_eq!(sent(client).await, sending);
    }
}

#[tokio::test]
async fn bytes_without_a_violation_pass() {
    let (mut client, mut stream) = pair();
    let message = frame(0x81, &[b'x'; MAX]);
    client.write_all(&message).await.unwrap();
    let mut read = vec![0; message.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, message);
    stream.write_all(&message).await.unwrap();
    drop(stream);
    assert_eq!(sent(client).await, message);
}

#[tokio::test(start_paused = true)]
async fn server_does_not_wait_for_a_client_that_does_not_close() {
    let (mut client, mut stream) = pair();
    client.write_all(&NOT_MASKED).await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    drop(stream);
    // The server reads what the client sends, so that the connection is not reset before the client
    // has read the close frame.
    let mut count = 0;
    while client.write_all(&[0; 100]).await.is_ok() {
        count += 1;
        tokio::time::advance(CLOSE_TIMEOUT / 100).await;
    }
    assert!((90..110).contains(&count), "{count}");
    assert_eq!(sent(client).await, close_frame());
}

#[tokio::test]
async fn receiver_ends_with_the_stream() {
    let (_client, server) = duplex(1);
    let (stream, mut dropped) = CheckedStream::new(server, (MAX, MAX), incoming());
    assert!((&mut dropped).now_or_never().is_none());
    drop(stream);
    assert!(dropped.await.is_err());
}

/// Random messages of up to 300 KB, in one frame or several, with pings between.
fn messages(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.random_range(1..6) {
        let opcode = random.random_range(1..=2_u8);
        let frames = *[1, 1, 1, 3].choose(random).unwrap();
        for number in 0..frames {
            let size = match random.random_range(0..4) {
                0 => random.random_range(0..200),
                1 => random.random_range(0..70_000),
                2 => {
                    random.random_range(1..4) * splitter::MAX_FRAME + random.random_range(0..3) - 1
                }
                _ => random.random_range(0..300_000),
            };
            // Text that shows a byte in the wrong place.
            let payload: Vec<u8> = (0..size).map(|at| b'!' + (at % 89) as u8).collect();
            let opcode = if number == 0 { opcode } else { 0 };
            let first = if number == frames - 1 { 0x80 } else { 0 } | opcode;
            bytes.extend(frame(first, &payload));
            if random.random_range(0..3) == 0 {
                bytes.extend(frame(0x89, b"ping"));
            }
        }
    }
    bytes
}

/// Returns the messages that tungstenite reads.
fn read(bytes: &[u8]) -> Vec<Message> {
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let mut socket = WebSocket::from_raw_socket(Incoming::default(), Role::Server, Some(config));
    socket.get_mut().0.extend(bytes);
    std::iter::from_fn(|| socket.read().ok()).collect()
}

/// Returns the size of the largest payload.
fn largest(bytes: &[u8]) -> u64 {
    let (mut header, mut at, mut largest) = (HeaderReader::default(), 0, 0);
    while at < bytes.len() {
        let (read, header) = header.read(&bytes[at..]);
        at += read;
        if let Some(header) = header {
            largest = largest.max(header.length);
            at += header.length as usize;
        }
    }
    largest
}

#[tokio::test]
async fn large_frames_are_split_and_binary_messages_become_empty() {
    let seed = std::env::var("BACKWIRE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("BACKWIRE_SEED={seed}");
    let (mut random, mut large) = (StdRng::seed_from_u64(seed), 0);
    for _ in 0..60 {
        let bytes = messages(&mut random);
        large += usize::from(largest(&bytes) > splitter::MAX_FRAME as u64);
        let (mut client, server) = duplex(random.random_range(1..200_000));
        let (mut stream, _dropped) = CheckedStream::new(server, (10 << 20, 10 << 20), incoming());
        let sent = bytes.clone();
        tokio::spawn(async move { client.write_all(&sent).await });
        let mut passed = Vec::new();
        let mut buffer = vec![0; *[5, 14, 1_000, 65_536, 131_072].choose(&mut random).unwrap()];
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                count => passed.extend_from_slice(&buffer[..count]),
            }
        }
        assert!(largest(&passed) <= splitter::MAX_FRAME as u64);
        let without_attachments = |message| match message {
            Message::Binary(_) => Message::Binary(Bytes::new()),
            other => other,
        };
        let expected: Vec<_> = read(&bytes).into_iter().map(without_attachments).collect();
        assert!(read(&passed) == expected, "{} bytes", bytes.len());
    }
    assert!(large > 20, "{large}");
}

/// Reads until the task has to let other tasks run, and returns how many bytes it has read.
async fn read_in_one_turn(stream: &mut CheckedStream<DuplexStream>) -> usize {
    let (mut count, mut buffer) = (0, vec![0; 128 << 10]);
    poll_fn(|cx| {
        loop {
            let mut part = ReadBuf::new(&mut buffer);
            match Pin::new(&mut *stream).poll_read(cx, &mut part) {
                Poll::Ready(read) => read.unwrap(),
                Poll::Pending => return Poll::Ready(()),
            }
            count += part.filled().len();
        }
    })
    .await;
    task::yield_now().await;
    count
}

#[tokio::test]
async fn client_that_sends_tiny_frames_gets_short_turns() {
    let (mut client, server) = duplex(64 << 10);
    let (mut stream, _dropped) = CheckedStream::new(server, (MAX, MAX), incoming());
    let tiny = frame(0x81, b"2").repeat(10 << 10);
    client.write_all(&tiny[..64 << 10]).await.unwrap();
    // The first read cannot know what it will find.
    assert!(read_in_one_turn(&mut stream).await <= splitter::MAX_FRAME);
    for _ in 0..10 {
        // The beginning of a header may have been held since the turn before.
        let count = read_in_one_turn(&mut stream).await;
        assert!(count <= TINY_READ + header::MAX_SIZE, "{count} bytes");
    }
}
