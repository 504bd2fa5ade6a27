//! `backwire send`: what a back end does with `POST /send`, from a shell.
//!
//! In reading order: `options`: what is said on the command line; `lined`: what goes into one request; `sender`: one request after the other; `answer`:
//! what came of it.

mod answer;
mod lined;
mod options;
mod sender;

use std::io;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};

pub(super) use options::Send;
use sender::Sender;

/// As it goes out.
#[derive(Serialize)]
struct Message<'a> {
    rooms: &'a [String],
    event: &'a str,
    /// None at all are one that is null, as for every sender.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    args: &'a [Box<RawValue>],
}

impl Send {
    /// Sends what was said, or what is read. An error says why something was not sent.
    pub(super) async fn run(self) -> io::Result<()> {
        // Large enough that many lines of a file are there at once.
        const AHEAD: usize = 256 << 10;
        self.send(BufReader::with_capacity(AHEAD, tokio::io::stdin())).await
    }

    async fn send(self, input: impl AsyncBufRead + Unpin) -> io::Result<()> {
        let sender = Sender::new(&self)?;
        match &self.event {
            Some(event) => {
                let message = Message { rooms: &self.rooms, event, args: &self.args };
                let json = serde_json::to_vec(&message)?;
                sender.ask("application/json", json).await.map(drop)
            }
            None => sender.send_lines(input.lines()).await,
        }
    }
}

#[cfg(test)]
mod tests;
