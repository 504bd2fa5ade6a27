//! The address of a client, by which limits distinguish clients.
//!
//! A proxy appends the address of its client to `X-Forwarded-For`. The server reads the header from
//! its end, as long as the address that appended the entry is one of `trusted_proxies`. A client
//! wrote the entries before those, and a client can write anything. An IPv6 network of 64 bits
//! counts as one address, because one client has all of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;

use super::address::{ClientAddress, network};
use super::connection_handle::ConnectionHandle;
use super::connections::{Addresses, LimitReached};
use crate::error::Error;
use crate::limit_monitor::LimitMonitor;
use crate::settings::TrustedProxy;
use crate::socket::EngineRequest;

/// Stands for the address of all clients whose address a proxy forwards in an unreadable form.
const UNREADABLE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Adds the address of the client to a request.
pub(crate) async fn attach(
    State((addresses, limits)): State<(Arc<Addresses>, Arc<LimitMonitor>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let handle = request.extensions().get::<ConnectInfo<ConnectionHandle>>();
    let handle = handle.map(|ConnectInfo(handle)| handle.clone());
    if let Some((handle, peer)) = handle.and_then(|handle| handle.peer().map(|peer| (handle, peer)))
    {
        let client = resolve(addresses.proxies(), peer, request.headers());
        handle.set_client(client);
        request.extensions_mut().insert(ClientAddress(client));
        let is_forwarded = client != network(peer.to_canonical());
        // A session that polls is not among the counted TCP connections.
        let engine = request.extensions().get::<EngineRequest>();
        let is_session = engine.is_some_and(|it| it.is_handshake() && !it.is_websocket());
        // The connections of another server are not counted either, so each of its requests is.
        let is_uncounted = (is_session || handle.is_embedded()) && !addresses.is_proxy(peer);
        if (is_forwarded || is_uncounted)
            && let Err(LimitReached(limit, max)) =
                addresses.attach(client, request.extensions_mut())
        {
            limits.reached(limit, Some(client));
            return Error::TooManyConnections { limit, max }.into_response();
        }
    }
    next.run(request).await
}

/// Returns the client of a TCP connection from `peer` whose request has these headers.
///
/// Invariant: a client cannot make the entry unreadable that a proxy appends after the entries of
/// the client, because the server reads each entry by itself. An unreadable entry is
/// [`UNREADABLE`], and never the address of the proxy, which may have higher limits.
fn resolve(proxies: &[TrustedProxy], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let forwarded = headers.get_all("x-forwarded-for").into_iter();
    let entries = forwarded.flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
    let entries: Vec<_> = entries.collect();
    let mut client = peer.to_canonical();
    for entry in entries.into_iter().rev() {
        if !proxies.iter().any(|proxy| proxy.includes(client)) {
            break;
        }
        let Some(address) = read(entry) else { return UNREADABLE };
        client = address.to_canonical();
    }
    network(client)
}

/// Parses the address in an entry, which may have a port.
fn read(entry: &[u8]) -> Option<IpAddr> {
    let entry = str::from_utf8(entry).ok()?.trim().trim_matches('"');
    let in_brackets = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = entry.parse::<IpAddr>().ok();
    address.or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip())).or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn resolved(proxies: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append("x-forwarded-for", value);
        }
        let proxies: Vec<_> = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        resolve(&proxies, peer.parse().unwrap(), &headers).to_string()
    }

    fn address(peer: &str, forwarded: &[&str]) -> String {
        resolved(&["loopback", "private"], peer, forwarded)
    }

    #[test]
    fn trusted_proxy_appends_the_address_of_its_client() {
        assert_eq!(address("127.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("10.0.0.7", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("::1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("::ffff:127.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("127.0.0.1", &["::1"]), "::1");
        assert_eq!(address("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn unreadable_entry_is_not_the_proxy_and_does_not_hide_the_next_entry() {
        for entry in ["nobody", "1.2.3.4, ", "unknown", "\u{ff}", "1.2.3.4:x", "[::1", ""] {
            assert_eq!(address("127.0.0.1", &[entry]), "0.0.0.0", "{entry:?}");
            let appended = format!("{entry}, 1.2.3.4");
            assert_eq!(address("127.0.0.1", &[&appended]), "1.2.3.4", "{entry:?}");
        }
    }

    #[test]
    fn entry_may_have_a_port_and_quotes() {
        for entry in ["1.2.3.4:5678", "\"1.2.3.4\"", "[::ffff:1.2.3.4]:80", "[::ffff:1.2.3.4]"] {
            assert_eq!(address("127.0.0.1", &[entry]), "1.2.3.4", "{entry}");
        }
    }

    #[test]
    fn chained_proxies_are_skipped_up_to_the_first_untrusted_address() {
        assert_eq!(address("127.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.7"]), "1.2.3.4");
        let proxies = ["127.0.0.1", "192.0.2.0/24"];
        assert_eq!(resolved(&proxies, "127.0.0.1", &["6.6.6.6, 1.2.3.4, 192.0.2.7"]), "1.2.3.4");
        assert_eq!(resolved(&proxies, "10.0.0.7", &["1.2.3.4"]), "10.0.0.7");
        assert_eq!(resolved(&[], "127.0.0.1", &["1.2.3.4"]), "127.0.0.1");
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
