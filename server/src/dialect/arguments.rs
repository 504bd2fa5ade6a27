//! The arguments of acks, and their text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use backwire_protocol::wire::ReplyFrame;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

/// The arguments of an ack.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Arguments {
    One(Box<RawValue>),
    /// One argument that is serialized around its body only when it is sent, so a large body is
    /// copied once less.
    Ack(Ack),
    /// Socket.IO makes each item of an array of a fixed length an argument.
    Two([Box<RawValue>; 2]),
}

impl Arguments {
    /// Returns the size in bytes. Of headers it counts no more than their texts.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::One(argument) => argument.get().len(),
            Self::Ack(ack) => size_of_ack(ack),
            Self::Two(both) => both.iter().map(|argument| argument.get().len()).sum(),
        }
    }

    /// Returns the JSON of the arguments, separated by commas.
    pub(crate) fn text(&self) -> serde_json::Result<Bytes> {
        let json = to_bytes(self, self.size())?;
        Ok(match self {
            Self::Two(_) => json.slice(1..json.len() - 1),
            Self::One(_) | Self::Ack(_) => json,
        })
    }
}

/// Serializes a value to JSON of about this size.
pub(crate) fn to_bytes(value: &impl Serialize, size: usize) -> serde_json::Result<Bytes> {
    /// The text around the arguments in most packets.
    const SLACK: usize = 512;
    let mut json = Vec::with_capacity(size + SLACK);
    serde_json::to_writer(&mut json, value)?;
    Ok(json.into())
}

/// The ack of a request, for our runtime and for the Sails 1.x dialect.
pub(crate) type Ack = ReplyFrame<Box<RawValue>, BTreeMap<Cow<'static, str>, Cow<'static, str>>>;

fn size_of_ack(ack: &Ack) -> usize {
    let body = ack.body.as_ref().map_or(0, |body| body.get().len());
    let headers = ack.headers.iter().map(|(name, value)| name.len() + value.len());
    body + headers.sum::<usize>()
}
