//! The way to Redis: its address, its deadline, and the errors that it returns.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisError};

use crate::Error;

const OUT_OF_MEMORY: &str = "Redis has no memory left (maxmemory): only reads, deletes and \
    acknowledgements are accepted; raise `maxmemory`";

/// Whether a write failed because Redis has no memory left. Nothing was stored.
pub(super) fn is_out_of_memory(error: &Error) -> bool {
    matches!(error, Error::Unavailable(text) if text == OUT_OF_MEMORY)
}

/// Returns the same error for another caller.
pub(super) fn same_error(error: &Error) -> Error {
    match error {
        Error::Unavailable(text) => Error::Unavailable(text.clone()),
        other => Error::Unavailable(other.to_string()),
    }
}

/// The way to Redis: its address, and how long a command may take.
#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    /// The prefix of all keys.
    pub(super) prefix: String,
    pub(super) deadline: Duration,
}

impl Link {
    pub(super) fn new(url: &str, prefix: String, deadline: Duration) -> Result<Self, Error> {
        let invalid = |error: RedisError| {
            Error::Unavailable(format!("the address of Redis is not valid: {error}"))
        };
        let info = url.into_connection_info().map_err(invalid)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(Self { client: Client::open(info).map_err(invalid)?, prefix, deadline })
    }

    /// Connects. Commands on the connection may take this much longer than the deadline, because
    /// Redis waits for data.
    pub(super) async fn connect(&self, patience: Duration) -> Result<MultiplexedConnection, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.deadline))
            .set_response_timeout(Some(self.deadline + patience));
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        connecting.await.map_err(|error| self.error(&error))
    }

    /// Returns the error of something that has not ended in time.
    pub(super) fn late(&self, deadline: Duration) -> Error {
        Error::Unavailable(format!("Redis did not answer within {deadline:?}"))
    }

    /// Returns the error of a command, with what to do about it.
    pub(super) fn error(&self, error: &RedisError) -> Error {
        Error::Unavailable(match error.code() {
            Some("OOM") => OUT_OF_MEMORY.to_owned(),
            Some("READONLY") => {
                "this Redis is a replica and refuses writes: connect to its master".to_owned()
            }
            _ if error.is_timeout() => return self.late(self.deadline),
            _ => format!("Redis: {error}"),
        })
    }
}
