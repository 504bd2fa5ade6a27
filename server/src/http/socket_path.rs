//! Another path of Socket.IO, beside the usual one.
//!
//! Requests for it are rewritten before anything looks at their path, so there is one path in all other files.

use axum::Router;
use axum::extract::Request;
use http::Uri;
use http::uri::PathAndQuery;
use tower::util::MapRequest;

use crate::settings::SocketPath;

/// The same app, which serves Socket.IO at this path, too.
pub(crate) fn also_at(path: &str, app: Router) -> Router {
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

/// The usual url for this one, if it is of Socket.IO.
fn rewritten(uri: &Uri, path: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(path)?;
    let is_in_it = rest.is_empty() || rest.starts_with(['/', '?']);
    let usual = is_in_it.then(|| format!("{}{rest}", SocketPath::DEFAULT))?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(usual).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_and_what_is_in_it_is_rewritten() {
        let rewritten = |uri: &'static str| rewritten(&Uri::from_static(uri), "/push");
        assert_eq!(rewritten("/push/?EIO=3&sid=x").unwrap(), "/socket.io/?EIO=3&sid=x");
        assert_eq!(rewritten("/push/socket.io.js").unwrap(), "/socket.io/socket.io.js");
        assert_eq!(rewritten("http://a/push?EIO=4").unwrap(), "http://a/socket.io?EIO=4");
        for other in ["/pushes", "/todo", "/", "/a/push"] {
            assert_eq!(rewritten(other), None, "{other}");
        }
    }
}
