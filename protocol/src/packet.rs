//! Socket.IO protocol 5 over Engine.IO protocol 4, text packets over a WebSocket.
//!
//! A packet is a digit or two, perhaps a namespace, perhaps an ack id, and JSON. [`Packet::decode`]
//! reads what comes before the JSON and says where the JSON starts, so that a shell can hand in just
//! the beginning of a long frame and leave the JSON to whoever parses it best. Binary packets are
//! not spoken. Source: the Socket.IO protocol, revision 5, and the Engine.IO protocol, revision 4.

use crate::json;

/// A packet and its JSON as `J`: a place in the frame after decoding, text before encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<J> {
    /// What it is for.
    pub kind: Kind,
    /// `/name`; empty for the main one, which is never written.
    pub namespace: String,
    /// Of an event: the sender wants an ack with this number. Of an ack: the event's number.
    pub ack: Option<u64>,
    /// An object of an open, a connect or its refusal; an array of an event, which starts with its
    /// name, and of an ack: the arguments of the callback.
    pub data: Option<J>,
}

/// What a packet is for. The first six are of Engine.IO, the others of Socket.IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server's first word: session id and timing.
    Open,
    /// The transport is about to close.
    Close,
    /// Are you there? The server asks.
    Ping,
    /// I am. The client answers.
    Pong,
    /// A client that polled would change to a WebSocket; never sent over one.
    Upgrade,
    /// Nothing.
    Noop,
    /// Join a namespace, with auth; or its confirmation, with the socket id.
    Connect,
    /// Leave a namespace.
    Disconnect,
    /// Something happened.
    Event,
    /// The answer to an event.
    Ack,
    /// Joining a namespace was refused.
    ConnectError,
}

/// Why a frame is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It is empty or its type is none we know.
    Type,
    /// It announces binary attachments.
    Binary,
    /// A namespace without its comma.
    Namespace,
    /// An ack without its id, or an id that is no number.
    AckId,
    /// The JSON is missing, or starts with the wrong bracket.
    Json,
    /// Something follows where nothing may.
    Trailing,
}

impl Malformed {
    /// The reason in words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Type => "unknown packet type",
            Self::Binary => "binary packets are not spoken",
            Self::Namespace => "namespace without a comma",
            Self::AckId => "bad ack id",
            Self::Json => "no JSON where it belongs",
            Self::Trailing => "trailing characters",
        }
    }
}

impl Kind {
    /// The kind, and how many digits it took to say so.
    fn decode(frame: &[u8]) -> Result<(Self, usize), Malformed> {
        let engine = |kind| Ok((kind, 1));
        let message = |kind| Ok((kind, 2));
        match *frame {
            [b'0', ..] => engine(Self::Open),
            [b'1', ..] => engine(Self::Close),
            [b'2', ..] => engine(Self::Ping),
            [b'3', ..] => engine(Self::Pong),
            [b'5', ..] => engine(Self::Upgrade),
            [b'6', ..] => engine(Self::Noop),
            [b'4', b'0', ..] => message(Self::Connect),
            [b'4', b'1', ..] => message(Self::Disconnect),
            [b'4', b'2', ..] => message(Self::Event),
            [b'4', b'3', ..] => message(Self::Ack),
            [b'4', b'4', ..] => message(Self::ConnectError),
            [b'b', ..] | [b'4', b'5' | b'6', ..] => Err(Malformed::Binary),
            _ => Err(Malformed::Type),
        }
    }

    const fn digits(self) -> &'static str {
        match self {
            Self::Open => "0",
            Self::Close => "1",
            Self::Ping => "2",
            Self::Pong => "3",
            Self::Upgrade => "5",
            Self::Noop => "6",
            Self::Connect => "40",
            Self::Disconnect => "41",
            Self::Event => "42",
            Self::Ack => "43",
            Self::ConnectError => "44",
        }
    }

    /// What its JSON starts with, if it has any.
    const fn bracket(self) -> Option<u8> {
        match self {
            Self::Open | Self::Connect | Self::ConnectError => Some(b'{'),
            Self::Event | Self::Ack => Some(b'['),
            _ => None,
        }
    }

    /// Only these two can be said without JSON or a comma after the namespace.
    const fn may_end_early(self) -> bool {
        matches!(self, Self::Connect | Self::Disconnect)
    }
}

impl Packet<usize> {
    /// Reads a frame. In place of the JSON stands the byte offset where it starts, so `frame` may
    /// be just the first part of a longer one, as long as that much is in it.
    pub fn decode(frame: &str) -> Result<Self, Malformed> {
        let bytes = frame.as_bytes();
        let (kind, at) = Kind::decode(bytes)?;
        let (namespace, at) = if at == 2 { decode_namespace(kind, frame)? } else { ("", at) };
        let (ack, at) = if at >= 2 { decode_ack(bytes, at)? } else { (None, at) };
        match kind {
            Kind::Ack if ack.is_none() => return Err(Malformed::AckId),
            Kind::Event | Kind::Ack => {}
            _ if ack.is_some() => return Err(Malformed::AckId),
            _ => {}
        }
        let data = match (bytes.get(at), kind.bracket()) {
            (None, None) => None,
            (None, Some(_)) if kind.may_end_early() => None,
            (Some(_), None) => return Err(Malformed::Trailing),
            (next, bracket) if next == bracket.as_ref() => Some(at),
            _ => return Err(Malformed::Json),
        };
        Ok(Self { kind, namespace: namespace.into(), ack, data })
    }
}

/// The namespace, and where it ends.
fn decode_namespace(kind: Kind, frame: &str) -> Result<(&str, usize), Malformed> {
    let bytes = frame.as_bytes();
    if bytes.get(2) != Some(&b'/') {
        return Ok(("", 2));
    }
    let comma = bytes.iter().position(|byte| *byte == b',');
    let (end, next) = match comma {
        Some(comma) => (comma, comma + 1),
        None if kind.may_end_early() => (bytes.len(), bytes.len()),
        None => return Err(Malformed::Namespace),
    };
    frame.get(2..end).map(|namespace| (namespace, next)).ok_or(Malformed::Namespace)
}

/// The ack id, if there is one, and where it ends.
fn decode_ack(frame: &[u8], at: usize) -> Result<(Option<u64>, usize), Malformed> {
    let Some(rest @ [b'0'..=b'9', ..]) = frame.get(at..) else { return Ok((None, at)) };
    let (ack, rest) = json::read_number(rest).ok_or(Malformed::AckId)?;
    Ok((Some(ack), frame.len() - rest.len()))
}

impl<'a> Packet<&'a str> {
    /// A packet of the main namespace.
    pub const fn new(kind: Kind, ack: Option<u64>, data: Option<&'a str>) -> Self {
        Self { kind, namespace: String::new(), ack, data }
    }

    /// Writes the frame.
    pub fn encode(&self) -> String {
        let mut out = String::from(self.kind.digits());
        if !self.namespace.is_empty() {
            out.push_str(&self.namespace);
            out.push(',');
        }
        if let Some(ack) = self.ack {
            json::push_number(&mut out, ack);
        }
        out.push_str(self.data.unwrap_or_default());
        out
    }
}

impl<J> Packet<J> {
    /// The same packet with its JSON as something else: a place made into text, text into a value.
    pub fn try_map<K, E>(self, read: impl FnOnce(J) -> Result<K, E>) -> Result<Packet<K>, E> {
        let Self { kind, namespace, ack, data } = self;
        Ok(Packet { kind, namespace, ack, data: data.map(read).transpose()? })
    }
}
