//! The answer to an event of a socket.

use bytes::Bytes;

use crate::dialect::Arguments;
use crate::memory_budget::Claim;

/// An answer, and the bytes that it claims until the client has read it.
pub(crate) struct Answer {
    content: Content,
    size: usize,
    pub(crate) claim: Option<Claim>,
}

/// The content of an answer. It is serialized as JSON at most once, also if it is sent again. The
/// arguments are not kept beside their text.
pub(crate) enum Content {
    Arguments(Arguments),
    Text(Bytes),
}

impl Answer {
    pub(crate) fn new(arguments: Arguments, claim: Option<Claim>) -> Self {
        Self { size: arguments.size(), content: Content::Arguments(arguments), claim }
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// Returns the size of its JSON in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Serializes the arguments as JSON, if that has not been done.
    pub(crate) fn write_text(&mut self) -> serde_json::Result<()> {
        if let Content::Arguments(arguments) = &self.content {
            self.content = Content::Text(arguments.text()?);
        }
        Ok(())
    }
}
