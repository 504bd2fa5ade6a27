//! The path that the router is nested at.
//!
//! Invariant: a request over a socket has the url that it has over HTTP.
//!
//! axum removes the path from the url of a request. The url of a request over a socket still begins
//! with it, and so do the urls that the server sends: the path of the session cookie, and
//! redirects.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{OriginalUri, Request};
use http::Extensions;

/// The path that the router is nested at, among the extensions of a request. It is missing if the
/// router is not nested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPath(Arc<str>);

impl MountPath {
    /// Adds the path to a request whose url has not been rewritten yet.
    pub(crate) fn attach(request: &mut Request) {
        let original = request.extensions().get::<OriginalUri>();
        let path = original.and_then(|original| prefix(original.path(), request.uri().path()));
        if let Some(path) = path.map(|path| Self(path.into())) {
            request.extensions_mut().insert(path);
        }
    }

    /// Returns the path, without a slash at its end. It is empty if the router is not nested.
    pub(crate) fn of(request: &Extensions) -> &str {
        request.get().map_or("", |Self(path)| &**path)
    }

    /// Returns the path, without a slash at its end.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Removes the path from a path or url that begins with it. Returns `None` if it does not.
    pub(crate) fn strip<'a>(path: &str, url: &'a str) -> Option<Cow<'a, str>> {
        let rest = url.strip_prefix(path)?;
        match rest.as_bytes().first() {
            None | Some(b'?') => Some(format!("/{rest}").into()),
            Some(b'/') => Some(rest.into()),
            Some(_) => None,
        }
    }
}

/// Returns the part of a path that was removed from its beginning, unless that is empty.
fn prefix<'a>(original: &'a str, rest: &str) -> Option<&'a str> {
    // `/api` becomes `/` below `/api`.
    let prefix = original.strip_suffix(rest).or_else(|| (rest == "/").then_some(original))?;
    Some(prefix.trim_end_matches('/')).filter(|prefix| !prefix.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_is_what_was_removed() {
        assert_eq!(prefix("/api/todo/7", "/todo/7"), Some("/api"));
        assert_eq!(prefix("/a/b/socket.io/", "/socket.io/"), Some("/a/b"));
        assert_eq!(prefix("/api", "/"), Some("/api"));
        assert_eq!(prefix("/api/", "/"), Some("/api"));
        for unchanged in ["/", "/todo", "/todo/"] {
            assert_eq!(prefix(unchanged, unchanged), None, "{unchanged}");
        }
        assert_eq!(prefix("/api/todo", "/other"), None);
    }

    #[test]
    fn url_is_below_the_path_at_a_slash_or_a_query() {
        let strip = |url| MountPath::strip("/api", url);
        assert_eq!(strip("/api/todo?a=1").as_deref(), Some("/todo?a=1"));
        assert_eq!(strip("/api").as_deref(), Some("/"));
        assert_eq!(strip("/api?a=1").as_deref(), Some("/?a=1"));
        for other in ["/apis/todo", "/todo", "/"] {
            assert_eq!(strip(other), None, "{other}");
        }
    }
}
