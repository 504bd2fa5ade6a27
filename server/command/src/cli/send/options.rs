//! The options of `backwire send`.

use backwire::settings::ApiKey;
use backwire::sites::Name;
use clap::Args;
use serde_json::value::RawValue;
use url::Url;

/// `backwire send`
#[derive(Debug, Args)]
pub(in crate::cli) struct Send {
    /// Url of the server
    #[arg(long, env = "BACKWIRE_URL", default_value = "http://localhost:1337")]
    pub(super) url: Url,

    /// Site whose people get the messages
    #[arg(long, env = "BACKWIRE_SITE", value_name = "NAME")]
    pub(super) site: Name,

    /// Key of the site
    #[arg(
        long,
        env = "BACKWIRE_API_KEY",
        value_name = "KEY",
        hide_env_values = true,
        required_unless_present = "api_key_file"
    )]
    pub(super) api_key: Option<ApiKey>,

    /// File with the key of the site. Other users of the machine can see a key on the command line
    #[arg(long, env = "BACKWIRE_API_KEY_FILE", value_name = "FILE", value_parser = ApiKey::read)]
    pub(super) api_key_file: Option<ApiKey>,

    /// Rooms to send to. Without --rooms and --event, messages are read from the standard input,
    /// one per line: {"rooms": ["a"], "event": "e", "args": [1]}
    #[arg(long, value_delimiter = ',', requires = "event")]
    pub(super) rooms: Vec<String>,

    /// Name of the event
    #[arg(long, requires = "rooms")]
    pub(super) event: Option<String>,

    /// Makes a device that acks this event out of order read everything again
    #[arg(long)]
    pub(super) resync: bool,

    /// Key by which the server recognizes a repeated request
    #[arg(long, value_name = "KEY", requires = "event")]
    pub(super) idempotency_key: Option<String>,

    /// Arguments of the event, each as JSON: '"a text"' 7 '{"id":1}'
    #[arg(value_name = "JSON", requires = "event", value_parser = json)]
    pub(super) args: Vec<Box<RawValue>>,
}

fn json(text: &str) -> Result<Box<RawValue>, String> {
    let not_json =
        |error| format!("{error}: expected JSON; put a text in double quotes: '\"a text\"'");
    serde_json::from_str(text).map_err(not_json)
}
