//! A custom path of Socket.IO, beside the default path.
//!
//! Requests for it are rewritten before any other layer reads their path, so all other files use
//! only the default path.

use axum::Router;
use axum::extract::Request;
use http::Uri;
use http::uri::PathAndQuery;
use tower::util::MapRequest;

use crate::settings::SocketPath;

/// Makes an app serve Socket.IO at this path, too.
pub(crate) fn with_custom_path(path: &str, app: Router) -> Router {
    if path == SocketPath::DEFAULT {
        return app;
    }
    let path = path.to_owned();
    Router::new().fallback_service(MapRequest::new(app, move |mut request: Request| {
        if let Some(uri) = rewritten(request.uri(), &path) {
            *request.uri_mut() = uri;
        }
        request
    }))
}

/// Returns the url at the default path, if this url is below the custom path.
fn rewritten(uri: &Uri, path: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(path)?;
    let is_below = rest.is_empty() || rest.starts_with(['/', '?']);
    let usual = is_below.then(|| format!("{}{rest}", SocketPath::DEFAULT))?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(usual).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_at_or_below_the_path_are_rewritten() {
        let rewritten = |uri: &'static str| rewritten(&Uri::from_static(uri), "/push");
        assert_eq!(rewritten("/push/?EIO=3&sid=x").unwrap(), "/socket.io/?EIO=3&sid=x");
        assert_eq!(rewritten("/push/socket.io.js").unwrap(), "/socket.io/socket.io.js");
        assert_eq!(rewritten("http://a/push?EIO=4").unwrap(), "http://a/socket.io?EIO=4");
        for other in ["/pushes", "/todo", "/", "/a/push"] {
            assert_eq!(rewritten(other), None, "{other}");
        }
    }
}
