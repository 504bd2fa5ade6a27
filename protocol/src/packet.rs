//! Socket.IO protocol 5 over Engine.IO protocol 4, text packets over a WebSocket.
//!
//! A packet consists of one or two digits, an optional namespace, an optional ack id, and JSON.
//! [`Packet::decode`] reads the part before the JSON and returns the offset where the JSON starts.
//! So a shell can pass only the beginning of a long frame, and parse the JSON in the fastest way.
//! Binary packets are not supported. Source: the Socket.IO protocol, revision 5, and the Engine.IO
//! protocol, revision 4.

use crate::json;

/// A packet and its JSON as `J`: an offset in the frame after decoding, text before encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<J> {
    /// The kind of packet.
    pub kind: Kind,
    /// The namespace, such as `/name`. Empty for the main namespace, which is never written.
    pub namespace: String,
    /// The ack id. In an event, the sender requests an ack with this number. In an ack, it is the
    /// number of the event.
    pub ack: Option<u64>,
    /// The JSON: an object in an open packet, a connect or its refusal; an array in an event (its
    /// name and arguments) and in an ack (the arguments of the callback).
    pub data: Option<J>,
}

/// The kind of a packet. The first six are of Engine.IO, the others of Socket.IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first packet of the server: session id and timing.
    Open,
    /// The transport is about to close.
    Close,
    /// A heartbeat of the server.
    Ping,
    /// The client's answer to a ping.
    Pong,
    /// A polling client changes to a WebSocket. Never sent over one.
    Upgrade,
    /// A packet without meaning.
    Noop,
    /// A request to join a namespace, with auth; or its confirmation, with the socket id.
    Connect,
    /// A request to leave a namespace.
    Disconnect,
    /// An event.
    Event,
    /// The answer to an event.
    Ack,
    /// The refusal of a connect.
    ConnectError,
}

/// The reason why a frame is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The frame is empty or its type is unknown.
    Type,
    /// The frame announces binary attachments.
    Binary,
    /// The namespace is not followed by a comma.
    Namespace,
    /// An ack has no id, or the id is not a number.
    AckId,
    /// The JSON is missing, or starts with the wrong bracket.
    Json,
    /// There are characters after the end of the packet.
    Trailing,
}

impl Malformed {
    /// Returns the reason as text.
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
    /// Returns the kind, and the number of its digits.
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

    /// Returns the first byte of the JSON, if the kind has JSON.
    const fn bracket(self) -> Option<u8> {
        match self {
            Self::Open | Self::Connect | Self::ConnectError => Some(b'{'),
            Self::Event | Self::Ack => Some(b'['),
            _ => None,
        }
    }

    /// Returns whether JSON and the comma after the namespace are optional.
    const fn may_end_early(self) -> bool {
        matches!(self, Self::Connect | Self::Disconnect)
    }
}

impl Packet<usize> {
    /// Decodes a frame. `data` is the byte offset where the JSON starts, so `frame` may be the
    /// beginning of a longer frame that includes the first byte of the JSON.
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

/// Returns the namespace, and the offset after it.
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

/// Returns the ack id, if there is one, and the offset after it.
fn decode_ack(frame: &[u8], at: usize) -> Result<(Option<u64>, usize), Malformed> {
    let Some(rest @ [b'0'..=b'9', ..]) = frame.get(at..) else { return Ok((None, at)) };
    let (ack, rest) = json::read_number(rest).ok_or(Malformed::AckId)?;
    Ok((Some(ack), frame.len() - rest.len()))
}

impl<'a> Packet<&'a str> {
    /// Creates a packet of the main namespace.
    pub const fn new(kind: Kind, ack: Option<u64>, data: Option<&'a str>) -> Self {
        Self { kind, namespace: String::new(), ack, data }
    }

    /// Encodes the packet as a frame.
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
    /// Converts the JSON of the packet, for example an offset to text, or text to a value.
    pub fn try_map<K, E>(self, read: impl FnOnce(J) -> Result<K, E>) -> Result<Packet<K>, E> {
        let Self { kind, namespace, ack, data } = self;
        Ok(Packet { kind, namespace, ack, data: data.map(read).transpose()? })
    }
}
