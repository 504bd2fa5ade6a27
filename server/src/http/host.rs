//! Checks the `Host` header, to prevent DNS rebinding.
//!
//! In DNS rebinding, the name of a page, such as `evil.example`, starts to resolve to this server.
//! The browser then takes the page for a page of this server: its origin is the host of the
//! request, so [`origin`](super::origin) allows it, and the page can read every answer. The attack
//! reaches servers that only their own machine or network can reach. The page cannot hide its host
//! name, though.
//!
//! If the settings name hosts, the server allows these and no others. Without such settings, one
//! case is clear: if the server listens on the loopback address only, and a request has another
//! host name *with the server's own port*, a browser on this machine has sent it. A proxy in front
//! of the server forwards the name and the port that its visitors use. Addresses are not names, so
//! DNS cannot rebind them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{Version, header};

use super::connection_handle::ConnectionHandle;
use crate::error::Error;
use crate::settings::{AllowedHost, without_port};

/// The hosts that requests may name.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    allowed: Arc<[AllowedHost]>,
}

impl Hosts {
    pub(crate) fn new(allowed: &[AllowedHost]) -> Self {
        Self { allowed: allowed.into() }
    }

    /// Whether a request may name this host. `own_port` is the port that it must not combine with
    /// another name. It is set if no other machine can send requests.
    fn allow(&self, host: &str, own_port: Option<u16>) -> bool {
        let name = without_port(host).trim_end_matches('.').to_ascii_lowercase();
        if is_local_or_address(&name) || self.allowed.iter().any(|allowed| allowed.matches(&name)) {
            return true;
        }
        let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        self.allowed.is_empty() && (port.is_none() || port != own_port)
    }
}

/// Whether no DNS server can make the name resolve to another machine.
fn is_local_or_address(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

/// Refuses requests for other hosts.
pub(crate) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    if !names_one_host(&request) {
        return Error::BadHost.into_response();
    }
    let header = request.headers().get(header::HOST).map(|host| host.as_bytes());
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let host = header.or(authority).map(String::from_utf8_lossy);
    let connection = request.extensions().get::<ConnectInfo<ConnectionHandle>>();
    // It is not known where another server, which has accepted the request, listens.
    let own_port = connection.and_then(|ConnectInfo(connection)| connection.loopback_port());
    match host {
        Some(host) if !hosts.allow(&host, own_port) => {
            Error::Host(host.into_owned()).into_response()
        }
        // Browsers always send the host.
        _ => next.run(request).await,
    }
}

/// Whether a request names at most one host, and exactly one in HTTP/1.1. With two hosts, a proxy
/// in front of the server may have used the other one.
fn names_one_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() != Version::HTTP_11,
        (Some(host), None) => {
            host.is_empty()
                || Authority::try_from(host.as_bytes()).is_ok_and(|it| !it.as_str().contains('@'))
        }
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn request_names_one_host() {
        let names_one = |version, hosts: &[&'static str]| {
            let mut request = Request::new(Body::empty());
            *request.version_mut() = version;
            for host in hosts {
                request.headers_mut().append(header::HOST, (*host).parse().unwrap());
            }
            names_one_host(&request)
        };
        for version in [Version::HTTP_10, Version::HTTP_11] {
            for host in ["", "localhost", "a_b.example:1337", "[::1]:80", "127.0.0.1"] {
                assert!(names_one(version, &[host]), "{host}");
            }
            for host in ["a, b", "a b", "a/b", "me@a"] {
                assert!(!names_one(version, &[host]), "{host}");
            }
            assert!(!names_one(version, &["a", "a"]));
        }
        assert!(names_one(Version::HTTP_10, &[]) && names_one(Version::HTTP_2, &[]));
        assert!(!names_one(Version::HTTP_11, &[]));
    }

    /// The hosts that a server allows that listens on an address.
    struct Listening(Hosts, Option<u16>);

    impl Listening {
        fn allow(&self, host: &str) -> bool {
            self.0.allow(host, self.1)
        }
    }

    fn hosts(named: &[&str], addr: &str) -> Listening {
        let named: Vec<_> = named.iter().map(|name| name.parse().unwrap()).collect();
        let connection = ConnectionHandle::closed_for_test();
        connection.set_listener(addr.parse().unwrap());
        Listening(Hosts::new(&named), connection.loopback_port())
    }

    #[test]
    fn localhost_and_addresses_are_always_allowed() {
        for hosts in [hosts(&[], "127.0.0.1:1337"), hosts(&["a.example"], "0.0.0.0:1337")] {
            for host in ["localhost:1337", "LOCALHOST.:1337", "app.localhost:1337", "127.0.0.1"] {
                assert!(hosts.allow(host), "{host}");
            }
            for host in ["[::1]:1337", "[2001:db8::1]", "192.168.1.5:1337"] {
                assert!(hosts.allow(host), "{host}");
            }
        }
    }

    #[test]
    fn loopback_server_refuses_other_names_with_its_own_port() {
        for addr in ["127.0.0.1:1337", "[::1]:1337"] {
            let hosts = hosts(&[], addr);
            assert!(
                !hosts.allow("evil.example:1337") && !hosts.allow("localhost.evil.example:1337")
            );
            // Proxies on the same machine send these.
            for host in ["push.example", "push.example:8443", "backwire"] {
                assert!(hosts.allow(host), "{host}");
            }
        }
        assert!(hosts(&[], "0.0.0.0:1337").allow("push.example:1337"));
    }

    #[test]
    fn named_hosts_are_allowed_at_any_port_and_other_hosts_are_not() {
        for addr in ["127.0.0.1:1337", "0.0.0.0:1337"] {
            let hosts = hosts(&["push.example", ".apps.example"], addr);
            for host in ["push.example", "Push.Example:1337", "push.example.", "a.apps.example:9"] {
                assert!(hosts.allow(host), "{host}");
            }
            for host in ["evil.example", "evil.example:1337", "push.example.evil.example", ""] {
                assert!(!hosts.allow(host), "{host}");
            }
        }
    }
}
