//! `backwire send`: sends messages with `POST /send` from a shell.
//!
//! In reading order:
//!
//! - `options`: the command line;
//! - `line_batch`: the lines of one request;
//! - `sender`: sends one request after the other;
//! - `answer`: the answers of the server.

mod answer;
mod line_batch;
mod options;
mod sender;

use std::io;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};

pub(super) use options::Send;
use sender::Sender;

/// A message in the form of `POST /send`.
#[derive(Serialize)]
struct Message<'a> {
    rooms: &'a [String],
    event: &'a str,
    /// If there are none, the event has one argument, `null`, as for every sender.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    args: &'a [Box<RawValue>],
}

impl Send {
    /// Sends the event of the options, or the messages of the standard input. An error is why a
    /// message was not sent.
    pub(super) async fn run(self) -> io::Result<()> {
        // Large enough that many lines of a file are buffered at once.
        const READ_AHEAD: usize = 256 << 10;
        self.send(BufReader::with_capacity(READ_AHEAD, tokio::io::stdin())).await
    }

    async fn send(self, input: impl AsyncBufRead + Unpin) -> io::Result<()> {
        let sender = Sender::new(&self)?;
        match &self.event {
            Some(event) => {
                let message = Message { rooms: &self.rooms, event, args: &self.args };
                let json = serde_json::to_vec(&message)?;
                sender.post("application/json", json).await.map(drop)
            }
            None => sender.send_lines(input.lines()).await,
        }
    }
}

#[cfg(test)]
mod tests;
