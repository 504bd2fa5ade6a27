//! `backwire send`: what a back end does with `POST /send`, from a shell.
//!
//! In reading order: `lined`: what goes into one request; `sender`: one request after the other; `answer`:
//! what came of it.

mod answer;
mod lined;
mod sender;

use std::io;

use backwire::settings::ApiKey;
use backwire::sites::Name;
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use url::Url;

use sender::Sender;

/// `backwire send`
#[derive(Debug, Args)]
pub(super) struct Send {
    /// Where the server is
    #[arg(long, env = "BACKWIRE_URL", default_value = "http://localhost:1337")]
    url: Url,

    /// The site whose people are meant
    #[arg(long, env = "BACKWIRE_SITE", value_name = "NAME")]
    site: Name,

    /// Its key
    #[arg(
        long,
        env = "BACKWIRE_API_KEY",
        value_name = "KEY",
        hide_env_values = true,
        required_unless_present = "api_key_file"
    )]
    api_key: Option<ApiKey>,

    /// File with its key, which others on the machine do not see on the command line
    #[arg(long, env = "BACKWIRE_API_KEY_FILE", value_name = "FILE", value_parser = ApiKey::read)]
    api_key_file: Option<ApiKey>,

    /// Rooms to send to. Without --rooms and --event, messages are read from the standard input, one a
    /// line: {"rooms": ["a"], "event": "e", "args": [1]}
    #[arg(long, value_delimiter = ',', requires = "event")]
    rooms: Vec<String>,

    /// Name of the event
    #[arg(long, requires = "rooms")]
    event: Option<String>,

    /// Has a device that acks it out of order start over
    #[arg(long)]
    resync: bool,

    /// By which the server knows a repeat
    #[arg(long, value_name = "KEY", requires = "event")]
    idempotency_key: Option<String>,

    /// What the event says, each as JSON: '"a text"' 7 '{"id":1}'
    #[arg(value_name = "JSON", requires = "event", value_parser = json)]
    args: Vec<Box<RawValue>>,
}

fn json(text: &str) -> Result<Box<RawValue>, String> {
    let not_json =
        |error| format!("{error}; JSON is meant, a text has quotes of its own: '\"a text\"'");
    serde_json::from_str(text).map_err(not_json)
}

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
