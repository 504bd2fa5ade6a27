//! Proxies whose `X-Forwarded-For` header is trusted: the setting `trusted_proxies`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

/// An address or a network of proxies. A proxy appends the address of its client to
/// `X-Forwarded-For`, so its clients have limits of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustedProxy {
    /// `loopback`: this machine.
    Loopback,
    /// `private`: addresses of private networks, such as `10.0.0.0/8` and `fc00::/7`.
    Private,
    /// An address such as `192.0.2.7`, or a network such as `192.0.2.0/24`.
    Network(IpNet),
}

impl TrustedProxy {
    /// Whether this is the address of such a proxy. `address` is not an IPv4 address mapped to
    /// IPv6.
    pub(crate) fn includes(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Loopback, address) => address.is_loopback(),
            (Self::Private, IpAddr::V4(address)) => address.is_private(),
            (Self::Private, IpAddr::V6(address)) => address.is_unique_local(),
            (Self::Network(network), address) => network.contains(&address),
        }
    }
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "loopback" => Ok(Self::Loopback),
            "private" => Ok(Self::Private),
            text => {
                let address = text.parse::<IpAddr>().map(IpNet::from);
                let network = address.or_else(|_| text.parse::<IpNet>());
                network.map(Self::Network).map_err(|_| {
                    format!(
                        "{text:?} is not an address of a proxy: expected an address such as \
                         10.0.0.7, a network such as 10.0.0.0/8, loopback or private"
                    )
                })
            }
        }
    }
}

impl<'de> Deserialize<'de> for TrustedProxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::yaml::parse_text(deserializer)
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Private => f.write_str("private"),
            Self::Network(network) => write!(f, "{network}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_is_an_address_a_network_or_a_name() {
        let includes = |proxy: &str, address: &str| {
            proxy.parse::<TrustedProxy>().unwrap().includes(address.parse().unwrap())
        };
        assert!(includes("192.0.2.7", "192.0.2.7") && !includes("192.0.2.7", "192.0.2.8"));
        assert!(includes("192.0.2.0/24", "192.0.2.8") && !includes("192.0.2.0/24", "192.0.3.8"));
        assert!(includes("2001:db8::/32", "2001:db8::1") && !includes("2001:db8::/32", "1.2.3.4"));
        assert!(includes("loopback", "::1") && !includes("loopback", "10.0.0.1"));
        assert!(includes("private", "10.0.0.1") && includes("private", "fd00::1"));
        assert!(!includes("private", "127.0.0.1") && !includes("private", "8.8.8.8"));
    }

    #[test]
    fn other_text_is_an_error_that_names_the_expected_forms() {
        for text in ["", "nginx", "10.0.0.0/33", "10.0.0.7:80", "*"] {
            let error = text.parse::<TrustedProxy>().unwrap_err();
            assert!(error.contains("is not an address of a proxy: expected "), "{error}");
        }
    }
}
