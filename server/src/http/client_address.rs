//! The address of a client. Limits tell clients apart by it.
//!
//! A proxy appends the address of its client to `X-Forwarded-For`. The header is read from its end, as long as the address
//! that appended the entry is one of `trusted_proxies`: an entry before those was written by a client, which can write anything.
//! An IPv6 network of 64 bits is one address, because one client has all of it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap};

use super::connections::{Addresses, Full};
use super::listener::Plug;
use crate::error::Error;
use crate::limit_monitor::LimitMonitor;
use crate::settings::TrustedProxy;
use crate::socket::EngineRequest;

/// The address of the client that sent a request, among the extensions of the request.
#[derive(Debug, Clone, Copy)]
struct ClientAddress(IpAddr);

/// The address of the client that sent a request with these extensions. `None` if its connection
/// ended before the server read it.
pub(crate) fn client_address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get().map(|ClientAddress(address)| *address)
}

/// Adds the address of its client to a request.
pub(crate) async fn attach(
    State((addresses, limits)): State<(Arc<Addresses>, Arc<LimitMonitor>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let plug = request.extensions().get().map(|ConnectInfo(plug): &ConnectInfo<Plug>| plug.clone());
    if let Some((plug, peer)) = plug.and_then(|plug| plug.peer().map(|peer| (plug, peer))) {
        let client = resolve(addresses.proxies(), peer, request.headers());
        plug.set_client(client);
        request.extensions_mut().insert(ClientAddress(client));
        let is_forwarded = client != network(peer.to_canonical());
        // A session that polls is none of the TCP connections that are counted.
        let engine = request.extensions().get::<EngineRequest>();
        let is_session = engine.is_some_and(|it| it.is_handshake() && !it.is_websocket());
        if (is_forwarded || is_session && !addresses.is_proxy(peer))
            && let Err(Full(limit, max)) = addresses.attach(client, request.extensions_mut())
        {
            limits.reached(limit, Some(client));
            return Error::NoRoom { limit, max }.into_response();
        }
    }
    next.run(request).await
}

/// The client of a TCP connection from `peer` whose request has these headers.
fn resolve(proxies: &[TrustedProxy], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let forwarded = headers.get_all("x-forwarded-for").into_iter();
    let entries = forwarded.map(|list| list.to_str().unwrap_or_default().split(','));
    let entries: Vec<_> = entries.flatten().map(|entry| entry.trim().parse::<IpAddr>()).collect();
    let mut client = peer.to_canonical();
    for entry in entries.into_iter().rev() {
        let is_proxy = proxies.iter().any(|proxy| proxy.includes(client));
        match entry {
            Ok(entry) if is_proxy => client = entry.to_canonical(),
            _ => break,
        }
    }
    network(client)
}

pub(super) fn network(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !(u64::MAX as u128);
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(proxies: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let proxies: Vec<_> = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        resolve(&proxies, peer.parse().unwrap(), &headers).to_string()
    }

    fn address(peer: &str, forwarded: &[&str]) -> String {
        behind(&["loopback", "private"], peer, forwarded)
    }

    #[test]
    fn trusted_proxy_reports_the_address_of_its_client_last() {
        assert_eq!(address("127.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("10.0.0.7", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("::1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("::ffff:127.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("127.0.0.1", &["nobody"]), "127.0.0.1");
        assert_eq!(address("127.0.0.1", &["1.2.3.4, "]), "127.0.0.1");
        assert_eq!(address("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn proxies_behind_one_another_are_skipped_up_to_the_first_that_is_not_trusted() {
        assert_eq!(address("127.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.7"]), "1.2.3.4");
        let proxies = ["127.0.0.1", "192.0.2.0/24"];
        assert_eq!(behind(&proxies, "127.0.0.1", &["6.6.6.6, 1.2.3.4, 192.0.2.7"]), "1.2.3.4");
        assert_eq!(behind(&proxies, "10.0.0.7", &["1.2.3.4"]), "10.0.0.7");
        assert_eq!(behind(&[], "127.0.0.1", &["1.2.3.4"]), "127.0.0.1");
    }

    #[test]
    fn client_on_the_internet_cannot_choose_its_address() {
        assert_eq!(address("5.6.7.8", &["1.2.3.4"]), "5.6.7.8");
        assert_eq!(address("2001:db8::1", &["1.2.3.4"]), "2001:db8::");
    }

    #[test]
    fn ipv6_network_of_64_bits_is_one_address() {
        assert_eq!(address("2001:db8::1", &[]), address("2001:db8::ffff:2", &[]));
        assert_ne!(address("2001:db8::1", &[]), address("2001:db8:0:1::1", &[]));
    }
}
