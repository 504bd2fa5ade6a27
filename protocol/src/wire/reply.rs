//! The ack of a request: `{"body":…,"statusCode":…,"headers":…}`, as Sails 1.x has it.

use crate::payload::Payload;
use crate::request::Reply;

const BODY: &str = "body";
const STATUS: &str = "statusCode";
const HEADERS: &str = "headers";

impl<P: Payload> Reply<P> {
    /// Reads the argument of an ack.
    pub fn read(argument: &P) -> Self {
        let status = argument.field(STATUS).and_then(|status| status.number());
        let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
        Self { status, body: argument.field(BODY), headers: argument.field(HEADERS) }
    }
}

/// The argument of an ack, as a server makes it.
#[cfg(feature = "serde")]
#[derive(Debug, Clone)]
pub struct ReplyFrame<B, H> {
    /// The status code, as in HTTP.
    pub status: u16,
    /// The body, if the response has one.
    pub body: Option<B>,
    /// A map of header names in lower case.
    pub headers: H,
}

#[cfg(feature = "serde")]
impl<B: serde::Serialize, H: serde::Serialize> serde::Serialize for ReplyFrame<B, H> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;

        let Self { status, body, headers } = self;
        let mut object = serializer.serialize_map(None)?;
        if let Some(body) = body {
            object.serialize_entry(BODY, body)?;
        }
        object.serialize_entry(STATUS, status)?;
        object.serialize_entry(HEADERS, headers)?;
        object.end()
    }
}
