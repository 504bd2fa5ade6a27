//! The address by which limits distinguish clients.

use std::net::{IpAddr, Ipv6Addr};

use http::Extensions;

/// The address of the client that sent a request, among the extensions of the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientAddress(pub(super) IpAddr);

/// Returns the address of the client that sent a request with these extensions. Returns `None` if
/// the connection ended before the server read its address.
pub(crate) fn client_address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get().map(|ClientAddress(address)| *address)
}

/// Returns the address by which limits count a client: for IPv6, its network of 64 bits.
pub(super) fn network(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !(u64::MAX as u128);
    match address {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & NETWORK).into()
        }
        _ => address,
    }
}
