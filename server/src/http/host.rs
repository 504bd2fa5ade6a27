//! What this server may be called by.
//!
//! A page of `evil.example` whose name leads to this server from now on is, for the browser, a page of this
//! server: its origin is the host that is asked, so [`origin`](super::origin) lets it in, and it reads every
//! answer. (That is called DNS rebinding, and reaches servers that only their own machine or network can.) It
//! cannot hide the name, though.
//!
//! What is named in the settings may be asked for, and nothing else if anything is. Without that, one case is
//! clear: who listens on this machine alone, and is asked for by another name *with its own port*, has been
//! reached by a browser on this machine. A proxy before it says its visitors' name, and the port they know.
//! Addresses are no names, and nobody can lead them elsewhere.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{Version, header};

use crate::error::Error;
use crate::settings::{AllowedHost, without_port};

/// The rule.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    named: Arc<[AllowedHost]>,
    /// That a name must not be asked for with. Set if it is known that no other machine can ask.
    own_port: Option<u16>,
}

impl Hosts {
    /// Of a server that listens there.
    pub(crate) fn new(named: &[AllowedHost], addr: SocketAddr) -> Self {
        let own_port = addr.ip().is_loopback().then(|| addr.port());
        Self { named: named.into(), own_port }
    }

    fn allow(&self, host: &str) -> bool {
        let name = without_port(host).trim_end_matches('.').to_ascii_lowercase();
        if is_here(&name) || self.named.iter().any(|named| named.is(&name)) {
            return true;
        }
        let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        self.named.is_empty() && (port.is_none() || port != self.own_port)
    }
}

/// Whether everybody's name server leads it to where it belongs.
fn is_here(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

/// Refuses what is meant for another.
pub(crate) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    if !names_one_host(&request) {
        return Error::BadHost.into_response();
    }
    let said = request.headers().get(header::HOST).map(|host| host.as_bytes());
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let host = said.or(authority).map(String::from_utf8_lossy);
    match host {
        Some(host) if !hosts.allow(&host) => Error::Host(host.into_owned()).into_response(),
        // Browsers always say it.
        _ => next.run(request).await,
    }
}

/// Whether a request has as many hosts as it may have. With two, a proxy before the server may have gone by the
/// other one.
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

    fn hosts(named: &[&str], addr: &str) -> Hosts {
        let named: Vec<_> = named.iter().map(|name| name.parse().unwrap()).collect();
        Hosts::new(&named, addr.parse().unwrap())
    }

    #[test]
    fn this_machine_and_addresses_are_never_somebody_elses() {
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
    fn on_this_machine_alone_no_name_is_asked_for_with_our_own_port() {
        for addr in ["127.0.0.1:1337", "[::1]:1337"] {
            let hosts = hosts(&[], addr);
            assert!(
                !hosts.allow("evil.example:1337") && !hosts.allow("localhost.evil.example:1337")
            );
            // What proxies on the same machine say.
            for host in ["push.example", "push.example:8443", "backwire"] {
                assert!(hosts.allow(host), "{host}");
            }
        }
        assert!(hosts(&[], "0.0.0.0:1337").allow("push.example:1337"));
    }

    #[test]
    fn what_is_named_is_asked_for_at_any_port_and_nothing_else_is() {
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
