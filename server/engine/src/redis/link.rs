//! The way to Redis: its address, its deadline, and the errors that it returns.
//!
//! The address may be that of any node of a Redis Cluster. All keys are in one slot, and a
//! connection leads to the node that has it.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
    cmd,
};

use crate::Error;

/// The maximum number of nodes of a cluster that are asked one after the other for the keys.
const MAX_REDIRECTS: usize = 5;

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
    /// The configured address, with what else a connection needs.
    info: ConnectionInfo,
    /// The addresses of a cluster, if Redis is one, as of the last redirect.
    nodes: Mutex<Vec<ConnectionAddr>>,
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
        // The client is made again for each connection, and this finds what is wrong with it.
        Client::open(info.clone()).map_err(invalid)?;
        Ok(Self { info, nodes: Mutex::default(), prefix, deadline })
    }

    /// Connects to the server that has the keys. If the configured node of a cluster does not
    /// answer, the others are asked. Commands on the connection may take this much longer than the
    /// deadline, because Redis waits for data.
    pub(super) async fn connect(&self, patience: Duration) -> Result<MultiplexedConnection, Error> {
        let first = self.connect_from(self.info.addr().clone(), patience).await;
        let Err(error) = first else { return first };
        let others = self.nodes.lock().clone();
        for node in others {
            if let Ok(connected) = self.connect_from(node, patience).await {
                return Ok(connected);
            }
        }
        Err(error)
    }

    /// Connects to a server, and to the one that it redirects to.
    async fn connect_from(
        &self,
        mut address: ConnectionAddr,
        patience: Duration,
    ) -> Result<MultiplexedConnection, Error> {
        for _ in 0..MAX_REDIRECTS {
            let mut redis = self.connect_to(address, patience).await?;
            let mut exists = cmd("EXISTS");
            exists.arg(format!("{}:meta", self.prefix));
            let Err(error) = exists.query_async::<u64>(&mut redis).await else { return Ok(redis) };
            let node = error.redirect_node().and_then(|(node, _)| node_address(node));
            address = node.ok_or_else(|| self.error(&error))?;
            self.learn_nodes(&mut redis).await;
        }
        Err(Error::Unavailable("the nodes of the Redis Cluster redirect to each other".to_owned()))
    }

    async fn connect_to(
        &self,
        address: ConnectionAddr,
        patience: Duration,
    ) -> Result<MultiplexedConnection, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.deadline))
            .set_response_timeout(Some(self.deadline + patience));
        let client = Client::open(self.info.clone().set_addr(address));
        let client = client.map_err(|error| self.error(&error))?;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        connecting.await.map_err(|error| self.error(&error))
    }

    /// Remembers the addresses of the cluster. If that fails, the former ones stay.
    async fn learn_nodes(&self, redis: &mut MultiplexedConnection) {
        let list = cmd("CLUSTER").arg("NODES").query_async::<String>(redis).await;
        if let Ok(list) = list {
            *self.nodes.lock() = list.lines().filter_map(listed_address).collect();
        }
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

/// Reads the address of a redirect: `host:port`.
fn node_address(text: &str) -> Option<ConnectionAddr> {
    let (host, port) = text.rsplit_once(':')?;
    (!host.is_empty()).then_some(ConnectionAddr::Tcp(host.to_owned(), port.parse().ok()?))
}

/// Reads the address in a line of `CLUSTER NODES`: `id host:port@bus[,name] …`.
fn listed_address(line: &str) -> Option<ConnectionAddr> {
    node_address(line.split(' ').nth(1)?.split('@').next()?)
}
