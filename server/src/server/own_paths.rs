//! The server's own paths, such as `/health`: all except those of resources and of the user's
//! routes.
//!
//! Invariant: no own path hides a declared resource or a route of the user. The server does not
//! start if one would.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::http::{assets, csrf, metrics, publish, revoke, send};
use crate::route::Routing;
use crate::router::Routes;
use crate::settings::{Settings, SocketPath};

/// The paths of the services that every server has.
const SERVICES: [&str; 6] =
    ["/health", "/health/live", metrics::PATH, publish::PATH, revoke::PATH, send::PATH];

/// A path that hides a declared resource or a route of the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{hidden} is hidden: {path} belongs to {owner}; {remedy}")]
pub struct HiddenPath {
    hidden: String,
    path: String,
    owner: &'static str,
    remedy: &'static str,
}

/// One of the server's own paths.
struct OwnPath<'a> {
    path: &'a str,
    /// The owner of the path, for error messages: a setting, Socket.IO or the server.
    owner: &'static str,
    /// Whether all paths below it are the server's own, too.
    has_paths_below: bool,
    /// Whether a route of the user with the same path replaces this path.
    yields_to_routes: bool,
}

impl OwnPath<'_> {
    /// Whether this path takes requests for a resource at `path` or for its records. Urls of
    /// resources are not case-sensitive.
    fn hides_resource(&self, path: &str) -> bool {
        let [path, own] = [path, self.path].map(str::to_ascii_lowercase);
        is_below(&own, &path) || own == path || self.has_paths_below && is_below(&path, &own)
    }

    /// Whether this path takes requests for a route of the user.
    fn hides_route(&self, path: &str) -> bool {
        let is_inside = path == self.path || self.has_paths_below && is_below(path, self.path);
        is_inside && !self.yields_to_routes
    }

    fn error(&self, hidden: String, remedy: &'static str) -> HiddenPath {
        HiddenPath { hidden, path: self.path.to_owned(), owner: self.owner, remedy }
    }
}

/// Returns all own paths of the server.
fn own_paths(settings: &Settings) -> impl Iterator<Item = OwnPath<'_>> {
    let fixed =
        |path, owner| OwnPath { path, owner, has_paths_below: false, yields_to_routes: false };
    let socket_io = [
        (SocketPath::DEFAULT, "Socket.IO"),
        (settings.socket_io.path.as_str(), "the setting io.path"),
    ];
    let socket_io =
        socket_io.map(|(path, owner)| OwnPath { has_paths_below: true, ..fixed(path, owner) });
    let tokens = csrf::PATHS.into_iter().filter(|_| settings.csrf);
    let tokens = tokens
        .map(move |path| OwnPath { yields_to_routes: true, ..fixed(path, "the setting csrf") });
    let services = SERVICES.into_iter().chain(assets::paths());
    let services = services.map(move |path| fixed(path, "the server"));
    socket_io.into_iter().chain(tokens).chain(services)
}

/// Returns an error if an own path hides a declared resource or a route of the user.
pub(super) fn check(settings: &Settings, routes: &Routes) -> Result<(), HiddenPath> {
    let routing = Routing::new(settings.paths(), Arc::new(settings.models.clone()));
    for (path, resource) in routing.declared_paths() {
        if let Some(own) = own_paths(settings).find(|own| own.hides_resource(&path)) {
            let remedy = "give the resource another name or a plural, or change the setting";
            return Err(own.error(format!("the resource {resource} at {path}"), remedy));
        }
    }
    for path in routes.paths() {
        if let Some(own) = own_paths(settings).find(|own| own.hides_route(path)) {
            return Err(own.error(format!("the route {path}"), "give the route another path"));
        }
    }
    Ok(())
}

/// Returns the paths of the axum routes of a router without a fallback: those of declared
/// resources, the server's own paths, and the user's routes.
pub(super) fn without_fallback(settings: &Settings, routes: &Routes) -> BTreeSet<String> {
    let routing = Routing::new(settings.paths(), Arc::new(settings.models.clone()));
    let (with_paths_below, single): (Vec<_>, Vec<_>) =
        own_paths(settings).partition(|own| own.has_paths_below);
    let mut roots: BTreeSet<_> = routing.declared_paths().into_keys().collect();
    roots.extend(with_paths_below.iter().map(|own| own.path.to_owned()));
    let single = single.iter().map(|own| own.path.to_owned());
    let single = single.chain(routes.paths().iter().cloned());
    // The wildcard of a root already matches the paths below it.
    let is_in_root = |path: &String| roots.iter().any(|root| path == root || is_below(path, root));
    let mut paths: BTreeSet<_> = single.filter(|path| !is_in_root(path)).collect();
    for root in roots {
        paths.extend([format!("{root}/"), format!("{root}/{{*rest}}"), root]);
    }
    paths
}

fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
}
