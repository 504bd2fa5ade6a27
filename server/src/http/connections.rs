//! Limits the number of open TCP connections, in total and per address.
//!
//! Each connection has a file descriptor, and so has each file of the store. If clients could take
//! all descriptors, the server could neither accept a connection nor open a file. So the server
//! reserves some. At the limit, the server closes connections that wait for their clients, those of
//! the network with the most first: a client that is alive opens another one. If all connections
//! are in use, the server refuses a new one.
//!
//! A connection counts for the address of its peer. Requests of a trusted proxy count for the
//! addresses of its clients instead: each until it is answered, and a socket until it is closed.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use backwire_environment::HashMap;
use http::Extensions;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::address::network;
use super::connection_handle::ConnectionHandle;
use crate::limit_monitor::LimitMonitor;
use crate::settings::{Limit, Settings, TrustedProxy};

/// At the limit, the server closes one of this many connections. The search for the oldest takes
/// time, so it closes several at once.
const CLOSE_DIVISOR: usize = 64;

/// Connections that may be closing at the same time. They still hold descriptors, which come from
/// the reserve.
const MAX_CLOSING: usize = 16;

/// How long new connections wait for a closing one. The server may still work on its request.
const MAX_CLOSING_WAIT: Duration = Duration::from_millis(100);

/// All connections of a server.
#[derive(Debug)]
pub(crate) struct Connections {
    max: usize,
    open: Mutex<OpenConnections>,
    closed: Notify,
    addresses: Arc<Addresses>,
    limits: Arc<LimitMonitor>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    /// Each connection, with the network of its peer.
    by_number: HashMap<u64, (ConnectionHandle, IpAddr)>,
    last: u64,
    /// How many are closing.
    closing: usize,
}

/// Counts the connections and forwarded requests of each address.
#[derive(Debug)]
pub(crate) struct Addresses {
    max: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
    proxies: Arc<[TrustedProxy]>,
}

/// Counts as one connection of an address until it is dropped.
#[derive(Debug)]
struct AddressPermit {
    address: IpAddr,
    addresses: Arc<Addresses>,
}

/// The permit of a request of a proxy, among its extensions until it is answered.
#[derive(Debug, Clone)]
struct ClientPermit(
    #[expect(dead_code, reason = "it counts until it is dropped")] Arc<AddressPermit>,
);

/// Counts as an open connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    number: u64,
    connections: Arc<Connections>,
    _permit: Option<AddressPermit>,
}

/// The limit that does not allow another connection, and its value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LimitReached(pub(crate) Limit, pub(crate) usize);

impl Connections {
    /// Creates the registry. At most `max` connections may be open.
    pub(crate) fn new(settings: &Settings, max: usize, limits: Arc<LimitMonitor>) -> Arc<Self> {
        let max = settings.limits.connections.min(max);
        let addresses = Addresses {
            // One address alone cannot take all connections.
            max: settings.limits.connections_per_address.min((max / 2).max(1)),
            counts: Mutex::default(),
            proxies: settings.trusted_proxies.as_slice().into(),
        };
        Arc::new(Self {
            max,
            open: Mutex::default(),
            closed: Notify::new(),
            addresses: Arc::new(addresses),
            limits,
        })
    }

    /// Returns the monitor that counts the limits that clients reach.
    pub(crate) fn limits(&self) -> &Arc<LimitMonitor> {
        &self.limits
    }

    pub(crate) fn addresses(&self) -> &Arc<Addresses> {
        &self.addresses
    }

    /// Registers a new connection if the limits allow it.
    pub(crate) fn admit(
        self: &Arc<Self>,
        handle: &ConnectionHandle,
        peer: IpAddr,
    ) -> Result<Registration, LimitReached> {
        let permit = self.addresses.acquire_for_peer(peer)?;
        let mut open = self.open.lock();
        if open.by_number.len() >= self.max {
            self.close_oldest(&mut open);
        }
        if open.by_number.len() >= self.max {
            return Err(LimitReached(Limit::Connections, self.max));
        }
        open.last += 1;
        let number = open.last;
        open.by_number.insert(number, (handle.clone(), network(peer.to_canonical())));
        Ok(Registration { number, connections: Arc::clone(self), _permit: permit })
    }

    /// Waits while many connections are closing.
    pub(crate) async fn wait_for_closing(&self) {
        let is_settled = || self.open.lock().closing < MAX_CLOSING;
        let settled = async {
            while !is_settled() {
                self.closed.notified().await;
            }
        };
        // The wait times out if the server works on requests of these connections.
        let _ = timeout(MAX_CLOSING_WAIT, settled).await;
    }

    /// Closes connections when the system has no descriptor left.
    pub(crate) fn make_room(&self) {
        self.close_oldest(&mut self.open.lock());
    }

    /// Closes connections of the network with the most waiting connections, the longest waiting
    /// first. So a client that opens many connections does not cause the few of another client to
    /// be closed.
    fn close_oldest(&self, open: &mut OpenConnections) {
        let mut waiting = Vec::new();
        let mut counts = HashMap::<IpAddr, usize>::default();
        for (number, (handle, network)) in &open.by_number {
            if let Some(since) = handle.activity().waiting() {
                *counts.entry(*network).or_default() += 1;
                waiting.push((since, *network, *number));
            }
        }
        let count = (self.max / CLOSE_DIVISOR).clamp(1, MAX_CLOSING).min(waiting.len());
        if count == 0 {
            return;
        }
        waiting.select_nth_unstable_by_key(count - 1, |(since, network, number)| {
            (Reverse(counts[network]), *since, *number)
        });
        for (_, _, number) in &waiting[..count] {
            if let Some((handle, _)) = open.by_number.remove(number) {
                handle.abort();
                self.limits.reached(Limit::Connections, handle.client());
                open.closing += 1;
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        if open.by_number.remove(&self.number).is_none() {
            open.closing -= 1;
            self.connections.closed.notify_one();
        }
    }
}

impl Addresses {
    /// Counts a connection of this peer. Returns `None` for proxies, whose requests are counted one
    /// by one.
    fn acquire_for_peer(
        self: &Arc<Self>,
        peer: IpAddr,
    ) -> Result<Option<AddressPermit>, LimitReached> {
        match self.is_proxy(peer) {
            true => Ok(None),
            false => self.acquire(network(peer.to_canonical())).map(Some),
        }
    }

    pub(crate) fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.includes(peer.to_canonical()))
    }

    fn acquire(self: &Arc<Self>, address: IpAddr) -> Result<AddressPermit, LimitReached> {
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.max {
            return Err(LimitReached(Limit::ConnectionsPerAddress, self.max));
        }
        *count += 1;
        Ok(AddressPermit { address, addresses: Arc::clone(self) })
    }

    /// Counts a request of a proxy for its client until the extensions are dropped.
    pub(crate) fn attach(
        self: &Arc<Self>,
        client: IpAddr,
        request: &mut Extensions,
    ) -> Result<(), LimitReached> {
        let permit = self.acquire(client)?;
        request.insert(ClientPermit(Arc::new(permit)));
        Ok(())
    }

    pub(crate) fn proxies(&self) -> &[TrustedProxy] {
        &self.proxies
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Returns how many connections the descriptors of this process allow. An eighth of the
/// descriptors, and at least 64, is for files and for the server's own connections.
pub(crate) fn descriptors_for_connections() -> usize {
    #[cfg(unix)]
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    let descriptors: Option<u64> = None;
    let descriptors =
        descriptors.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
    let reserve = (descriptors / 8).clamp(64, 1024);
    descriptors.saturating_sub(reserve).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(max: usize) -> Arc<Addresses> {
        let proxies = Arc::from([TrustedProxy::Loopback]);
        Arc::new(Addresses { max, counts: Mutex::default(), proxies })
    }

    #[test]
    fn address_has_room_again_when_its_connections_end() {
        let addresses = addresses(2);
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let acquire = || addresses.acquire_for_peer(one);
        let (first, _second) = (acquire().unwrap(), acquire().unwrap());
        assert_eq!(acquire().unwrap_err(), LimitReached(Limit::ConnectionsPerAddress, 2));
        assert!(addresses.acquire_for_peer(other).is_ok());
        drop(first);
        assert!(acquire().is_ok());
    }

    #[test]
    fn requests_of_a_proxy_count_for_its_clients() {
        let addresses = addresses(1);
        let proxy = [127, 0, 0, 1].into();
        assert!((0..9).all(|_| addresses.acquire_for_peer(proxy).unwrap().is_none()));
        let mut requests = [(); 3].map(|()| Extensions::new());
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        assert!(addresses.attach(one, &mut requests[0]).is_ok());
        assert!(addresses.attach(one, &mut requests[1]).is_err());
        assert!(addresses.attach(other, &mut requests[2]).is_ok());
        requests[0].clear();
        assert!(addresses.attach(one, &mut requests[1]).is_ok());
    }
}
