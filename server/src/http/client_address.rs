//! The address of a client, where clients share something fairly.
//!
//! A proxy on this machine or in a private network appends the address of its client to
//! `X-Forwarded-For`, so the last entry counts. The header of any other peer does not count. An
//! IPv6 network of 64 bits is one address, because one client has all of it.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;

/// The client of a TCP connection from `peer` whose handshake has these headers.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let peer = peer.to_canonical();
    let forwarded = headers.get_all("x-forwarded-for").into_iter().next_back();
    let last =
        forwarded.and_then(|list| list.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    let client = last.filter(|_| may_be_proxy(peer)).unwrap_or(peer);
    network(client.to_canonical())
}

fn may_be_proxy(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private(),
        IpAddr::V6(peer) => peer.is_loopback() || peer.is_unique_local(),
    }
}

fn network(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !(u64::MAX as u128);
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        client_address(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn proxy_nearby_reports_the_address_of_its_client_last() {
        assert_eq!(address("127.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("10.0.0.7", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("::1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("::ffff:127.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(address("127.0.0.1", &["nobody"]), "127.0.0.1");
        assert_eq!(address("127.0.0.1", &[]), "127.0.0.1");
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
