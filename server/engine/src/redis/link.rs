//! The way to Redis: its address, its deadline, and the errors that it returns.
//!
//! The address may be that of any node of a Redis Cluster. All keys are in one slot, and a
//! connection leads to the node that has it. With sentinels it leads to the master that they know.
//! Each connection finds its server anew, so it follows a failover. It also reads the files of
//! certificates anew, so certificates can be renewed.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, RedisError, TlsCertificates, TlsMode, cmd,
};

use super::address::{Address, RedisUrl, Sentinel, TlsFiles};
use super::runtime;
use crate::Error;

/// The maximum number of nodes of a cluster that are asked one after the other for the keys.
const MAX_REDIRECTS: usize = 5;

const LOADING: &str = "Redis is loading its data";

const OUT_OF_MEMORY: &str = "Redis has no memory left (maxmemory): only reads, deletes and \
    acknowledgements are accepted; raise `maxmemory`";

/// Whether a write failed because Redis has no memory left. Nothing was stored.
pub(super) fn is_out_of_memory(error: &Error) -> bool {
    matches!(error, Error::Unavailable(text) if text == OUT_OF_MEMORY)
}

/// Whether a command failed because Redis has just started, and is loading its data.
pub(super) fn is_loading(error: &Error) -> bool {
    matches!(error, Error::Unavailable(text) if text == LOADING)
}

/// Returns the same error for another caller.
pub(super) fn same_error(error: &Error) -> Error {
    match error {
        Error::Unavailable(text) => Error::Unavailable(text.clone()),
        other => Error::Unavailable(other.to_string()),
    }
}

/// The way to Redis: its address, and how long a command may take.
pub(super) struct Link {
    url: RedisUrl,
    /// The addresses of a cluster, if Redis is one, as of the last connection.
    nodes: Mutex<Vec<(String, u16)>>,
    /// The prefix of all keys.
    pub(super) prefix: String,
    pub(super) deadline: Duration,
    /// The epoch of the last connection that was made.
    pub(super) last_epoch: AtomicU64,
}

/// How the server that has the keys is found.
enum Way {
    /// One of these servers has them, or redirects to it.
    Servers(Vec<ConnectionInfo>),
    /// Sentinels know it.
    Sentinels(Box<SentinelClient>),
}

impl Link {
    pub(super) fn new(url: &str, prefix: String, deadline: Duration) -> Result<Self, Error> {
        let url: RedisUrl = url.parse().map_err(Error::Unavailable)?;
        Way::to(url.address())?;
        let (nodes, last_epoch) = Default::default();
        Ok(Self { url, nodes, prefix, deadline, last_epoch })
    }

    /// Connects to the server that has the keys. Commands on the connection may take this much
    /// longer than the deadline, because Redis waits for data.
    pub(super) async fn connect(&self, timeout: Duration) -> Result<MultiplexedConnection, Error> {
        match Way::to(self.url.address())? {
            Way::Servers(servers) => self.connect_by_servers(&servers, timeout).await,
            Way::Sentinels(mut client) => {
                let found = runtime::within(self.deadline, client.async_get_client()).await;
                let client = found.ok_or_else(|| self.late(self.deadline))?;
                let client = client.map_err(|error| {
                    Error::Unavailable(format!(
                        "the sentinels know no master that answers: {error}"
                    ))
                })?;
                self.connect_to(&client, timeout).await
            }
        }
    }

    /// Asks the configured servers one after the other, and then the other nodes of their cluster.
    async fn connect_by_servers(
        &self,
        servers: &[ConnectionInfo],
        timeout: Duration,
    ) -> Result<MultiplexedConnection, Error> {
        let mut first = None;
        let nodes = self.nodes.lock().clone();
        let others = nodes.into_iter().map(|node| at_node(&servers[0], node));
        for server in servers.iter().cloned().chain(others) {
            match self.connect_from(server, timeout).await {
                Ok(connected) => return Ok(connected),
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::Unavailable("no address of Redis".to_owned())))
    }

    /// Connects to a server, and to the one that it redirects to.
    async fn connect_from(
        &self,
        mut server: ConnectionInfo,
        timeout: Duration,
    ) -> Result<MultiplexedConnection, Error> {
        for _ in 0..MAX_REDIRECTS {
            let client = Client::open(server.clone()).map_err(|error| self.error(&error))?;
            let mut redis = self.connect_to(&client, timeout).await?;
            let mut exists = cmd("EXISTS");
            exists.arg(format!("{}:meta", self.prefix));
            let outcome = exists.query_async::<u64>(&mut redis).await;
            self.learn_nodes(&mut redis).await;
            let Err(error) = outcome else { return Ok(redis) };
            let node = error.redirect_node().and_then(|(node, _)| node_address(node));
            server = at_node(&server, node.ok_or_else(|| self.error(&error))?);
        }
        Err(Error::Unavailable("the nodes of the Redis Cluster redirect to each other".to_owned()))
    }

    async fn connect_to(
        &self,
        client: &Client,
        timeout: Duration,
    ) -> Result<MultiplexedConnection, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.deadline))
            .set_response_timeout(Some(self.deadline + timeout));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        connecting.await.map_err(|error| self.error(&error))
    }

    /// Remembers the addresses of the cluster. If that fails, or Redis is none, the former ones
    /// stay.
    async fn learn_nodes(&self, redis: &mut MultiplexedConnection) {
        let list = cmd("CLUSTER").arg("NODES").query_async::<String>(redis).await;
        if let Ok(list) = list {
            *self.nodes.lock() = list.lines().flat_map(listed_addresses).collect();
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
            Some("LOADING") => LOADING.to_owned(),
            Some("READONLY") => {
                "this Redis is a replica and refuses writes: connect to its master".to_owned()
            }
            _ if error.is_timeout() => return self.late(self.deadline),
            _ => format!("Redis: {error}"),
        })
    }
}

impl Way {
    fn to(address: &Address) -> Result<Self, Error> {
        let certificates = certificates(&address.files)?;
        if address.servers.iter().any(|server| server.starts_with("rediss:")) {
            // An embedding program may have chosen another one, or have several.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let servers = address.servers.iter().map(|server| connection_info(server, &certificates));
        let servers = servers.collect::<Result<Vec<_>, _>>().map_err(|error| invalid(&error))?;
        match &address.sentinel {
            None => Ok(Self::Servers(servers)),
            Some(sentinel) => {
                let client = sentinel_client(sentinel, &servers, certificates);
                let client = client.map_err(|error| invalid(&error))?;
                Ok(Self::Sentinels(Box::new(client)))
            }
        }
    }
}

fn invalid(error: &RedisError) -> Error {
    Error::Unavailable(format!("the address of Redis is not valid: {error}"))
}

/// Returns what a connection to a server needs.
fn connection_info(
    server: &str,
    certificates: &Option<TlsCertificates>,
) -> Result<ConnectionInfo, RedisError> {
    let info = server.into_connection_info()?.set_tcp_settings(tcp_settings());
    // The client is made again for each connection, and this finds what is wrong with it.
    let client = match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates.clone())?,
        None => Client::open(info)?,
    };
    Ok(client.get_connection_info().clone())
}

fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// Reads the files of certificates, if there are any.
fn certificates(files: &TlsFiles) -> Result<Option<TlsCertificates>, Error> {
    let read = |file: &Option<PathBuf>| {
        let file = file.as_ref();
        let bytes = file.map(|file| {
            runtime::read_file(file).map_err(|error| {
                let file = file.display();
                Error::Unavailable(format!("the file {file} for TLS cannot be read: {error}"))
            })
        });
        bytes.transpose()
    };
    let (root_cert, cert, key) = (read(&files.ca)?, read(&files.cert)?, read(&files.key)?);
    let client_tls =
        cert.zip(key).map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
    let is_needed = root_cert.is_some() || client_tls.is_some();
    Ok(is_needed.then_some(TlsCertificates { client_tls, root_cert }))
}

/// Returns the client that finds the master. The certificates are in the addresses of the
/// sentinels already.
fn sentinel_client(
    sentinel: &Sentinel,
    servers: &[ConnectionInfo],
    certificates: Option<TlsCertificates>,
) -> Result<SentinelClient, RedisError> {
    let master = sentinel.master.as_str().into_connection_info()?;
    let sentinels = servers.iter().map(|server| server.addr().clone());
    let mut builder =
        SentinelClientBuilder::new(sentinels, &sentinel.service, SentinelServerType::Master)?
            .set_client_to_redis_db(master.redis_settings().db())
            .set_client_to_redis_tcp_settings(tcp_settings())
            .set_client_to_sentinel_tcp_settings(tcp_settings());
    if let Some(user) = master.redis_settings().username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = master.redis_settings().password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(user) = &sentinel.user {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = &sentinel.password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    if sentinel.master.starts_with("rediss:") {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(certificates) = certificates {
        builder = builder.set_client_to_redis_certificates(certificates);
    }
    builder.build()
}

/// Returns what a connection to another node of a cluster needs: the same, but for its address.
fn at_node(server: &ConnectionInfo, (host, port): (String, u16)) -> ConnectionInfo {
    let address = match server.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    server.clone().set_addr(address)
}

/// Reads the address of a redirect: `host:port`.
fn node_address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
}

/// Reads the addresses in a line of `CLUSTER NODES`: `id address:port@bus[,host[,…]] …`. The host
/// comes first, because certificates usually have it.
fn listed_addresses(line: &str) -> Vec<(String, u16)> {
    let mut parts = line.split(' ').nth(1).unwrap_or_default().split(',');
    let address = parts.next().and_then(|part| node_address(part.split('@').next()?));
    let Some((address, port)) = address else { return Vec::new() };
    let host = parts.next().filter(|host| !host.is_empty() && !host.contains('='));
    let hosts = host.map(str::to_owned).into_iter().chain([address]);
    hosts.map(|host| (host, port)).collect()
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    #[test]
    fn nodes_of_a_cluster_are_listed_with_their_hosts() {
        let one = ("10.0.0.1".to_owned(), 6379);
        let line = "07c3 10.0.0.1:6379@16379,one.internal,shard-id=69b master - 0 0 1";
        assert_eq!(listed_addresses(line), [("one.internal".to_owned(), 6379), one.clone()]);
        let line = "07c3 10.0.0.1:6379@16379,,tls-port=0,shard-id=69b master - 0 0 1";
        for line in [line, "07c3 10.0.0.1:6379@16379 master - 0 0 1"] {
            assert_eq!(listed_addresses(line), slice::from_ref(&one));
        }
        assert!(listed_addresses("07c3 :0@0 master,fail - 0 0 1").is_empty());
    }

    #[test]
    fn missing_file_of_certificates_is_an_error_with_its_name() {
        let url = "rediss://:secret@localhost?ca=/missing/ca.pem";
        let error = Link::new(url, String::new(), Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("the file /missing/ca.pem for TLS cannot be read"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
