//! How many TCP connections are open, in all and from one address.
//!
//! Each connection has a file descriptor, and so has each file of the store. If clients could take all of them,
//! the server could neither accept a connection nor open a file. So some are kept back. At the limit, connections
//! that wait for their clients are closed to make room, those of the network with the most first: a client that is alive opens
//! another one. If all connections are in use, a new one is refused.
//!
//! A connection counts for the address it comes from. Requests of a trusted proxy count for the addresses of its
//! clients instead, each as long as it is being answered, and a socket as long as it lives.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::client_address::network;
use super::listener::Plug;
use crate::limit_monitor::LimitMonitor;
use crate::settings::{Limit, Settings, TrustedProxy};

/// One of this many connections is closed when there is no room. Looking for the oldest takes time.
const CLOSED_AT_ONCE: usize = 64;

/// Connections that may be in the middle of their end. They have their descriptors still, from those kept back.
const MAX_CLOSING: usize = 16;

/// How long others wait for the end of such a connection. The server may be working on a request of it.
const MAX_CLOSING_WAIT: Duration = Duration::from_millis(100);

/// All connections of a server.
#[derive(Debug)]
pub(crate) struct Connections {
    max: usize,
    open: Mutex<Open>,
    closed: Notify,
    addresses: Arc<Addresses>,
    limits: Arc<LimitMonitor>,
}

#[derive(Debug, Default)]
struct Open {
    /// With the network that each comes from.
    by_number: HashMap<u64, (Plug, IpAddr)>,
    last: u64,
    /// How many are being closed.
    closing: usize,
}

/// How many connections and requests each address has.
#[derive(Debug)]
pub(crate) struct Addresses {
    max: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
    proxies: Arc<[TrustedProxy]>,
}

/// One of the connections of an address, until it is dropped.
#[derive(Debug)]
struct Share {
    address: IpAddr,
    addresses: Arc<Addresses>,
}

/// What a request of a proxy carries as long as it is being answered.
#[derive(Debug, Clone)]
struct ClientShare(#[expect(dead_code, reason = "it counts until it is dropped")] Arc<Share>);

/// An open connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    number: u64,
    connections: Arc<Connections>,
    _share: Option<Share>,
}

/// A limit that leaves no room for a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) Limit, pub(crate) usize);

impl Connections {
    /// `max` is how many may be open.
    pub(crate) fn new(settings: &Settings, max: usize, limits: Arc<LimitMonitor>) -> Arc<Self> {
        let max = settings.limits.connections.min(max);
        let addresses = Addresses {
            // One address alone cannot take all of them.
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

    /// Counts the limits that clients of this server reach.
    pub(crate) fn limits(&self) -> &Arc<LimitMonitor> {
        &self.limits
    }

    pub(crate) fn addresses(&self) -> &Arc<Addresses> {
        &self.addresses
    }

    /// Registers a new connection, if there is room.
    pub(crate) fn admit(self: &Arc<Self>, plug: &Plug, peer: IpAddr) -> Result<Registration, Full> {
        let share = self.addresses.share_of_peer(peer)?;
        let mut open = self.open.lock();
        if open.by_number.len() >= self.max {
            self.close_oldest(&mut open);
        }
        if open.by_number.len() >= self.max {
            return Err(Full(Limit::Connections, self.max));
        }
        open.last += 1;
        let number = open.last;
        open.by_number.insert(number, (plug.clone(), network(peer.to_canonical())));
        Ok(Registration { number, connections: Arc::clone(self), _share: share })
    }

    /// Waits while many connections are in the middle of their end.
    pub(crate) async fn settle(&self) {
        let is_settled = || self.open.lock().closing < MAX_CLOSING;
        let settled = async {
            while !is_settled() {
                self.closed.notified().await;
            }
        };
        // In vain if the server works on requests of these connections.
        let _ = timeout(MAX_CLOSING_WAIT, settled).await;
    }

    /// Makes room for others when the system has no descriptor left.
    pub(crate) fn make_room(&self) {
        self.close_oldest(&mut self.open.lock());
    }

    /// Closes connections of the network that has the most that wait, those that wait longest first. So a client that opens
    /// many does not have the few of another closed.
    fn close_oldest(&self, open: &mut Open) {
        let mut waiting = Vec::new();
        let mut counts = HashMap::<IpAddr, usize>::new();
        for (number, (plug, network)) in &open.by_number {
            if let Some(since) = plug.activity().waiting() {
                *counts.entry(*network).or_default() += 1;
                waiting.push((since, *network, *number));
            }
        }
        let count = (self.max / CLOSED_AT_ONCE).clamp(1, MAX_CLOSING).min(waiting.len());
        if count == 0 {
            return;
        }
        waiting.select_nth_unstable_by_key(count - 1, |(since, network, number)| {
            (Reverse(counts[network]), *since, *number)
        });
        for (_, _, number) in &waiting[..count] {
            if let Some((plug, _)) = open.by_number.remove(number) {
                plug.pull();
                self.limits.reached(Limit::Connections, plug.client());
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
    /// `None` for proxies, whose requests are counted one by one.
    fn share_of_peer(self: &Arc<Self>, peer: IpAddr) -> Result<Option<Share>, Full> {
        match self.is_proxy(peer) {
            true => Ok(None),
            false => self.share(network(peer.to_canonical())).map(Some),
        }
    }

    pub(crate) fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.includes(peer.to_canonical()))
    }

    fn share(self: &Arc<Self>, address: IpAddr) -> Result<Share, Full> {
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.max {
            return Err(Full(Limit::ConnectionsPerAddress, self.max));
        }
        *count += 1;
        Ok(Share { address, addresses: Arc::clone(self) })
    }

    /// Counts a request of a proxy for its client, until the extensions are dropped.
    pub(crate) fn attach(
        self: &Arc<Self>,
        client: IpAddr,
        request: &mut Extensions,
    ) -> Result<(), Full> {
        let share = self.share(client)?;
        request.insert(ClientShare(Arc::new(share)));
        Ok(())
    }

    pub(crate) fn proxies(&self) -> &[TrustedProxy] {
        &self.proxies
    }
}

impl Drop for Share {
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

/// How many connections the descriptors of this process allow. An eighth of them, and at least 64, is for files and for
/// the server's own connections.
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
        let share = || addresses.share_of_peer(one);
        let (first, _second) = (share().unwrap(), share().unwrap());
        assert_eq!(share().unwrap_err(), Full(Limit::ConnectionsPerAddress, 2));
        assert!(addresses.share_of_peer(other).is_ok());
        drop(first);
        assert!(share().is_ok());
    }

    #[test]
    fn requests_of_a_proxy_count_for_its_clients() {
        let addresses = addresses(1);
        let proxy = [127, 0, 0, 1].into();
        assert!((0..9).all(|_| addresses.share_of_peer(proxy).unwrap().is_none()));
        let mut requests = [(); 3].map(|()| Extensions::new());
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        assert!(addresses.attach(one, &mut requests[0]).is_ok());
        assert!(addresses.attach(one, &mut requests[1]).is_err());
        assert!(addresses.attach(other, &mut requests[2]).is_ok());
        requests[0].clear();
        assert!(addresses.attach(one, &mut requests[1]).is_ok());
    }
}
