//! Rewrites each url to one canonical form.
//!
//! The routes of resources accept `/Todo/` as `/todo`. The rewrite ensures that such a url does not
//! bypass a route that overrides them.

use std::sync::Arc;

use axum::extract::{Request, State};
use http::Uri;
use http::uri::PathAndQuery;

use crate::route::Routing;

/// Rewrites the url of a request to its canonical form.
pub(super) async fn normalize(
    State(routing): State<Arc<Routing>>,
    mut request: Request,
) -> Request {
    if let Some(uri) = canonical_uri(request.uri(), &routing) {
        *request.uri_mut() = uri;
    }
    request
}

/// Returns the canonical url. Returns `None` if the url is canonical already, or if its resource
/// has no override.
fn canonical_uri(uri: &Uri, routing: &Routing) -> Option<Uri> {
    let mut path = routing.canonical_path(uri.path()).filter(|path| path != uri.path())?;
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Paths;
    use backwire_records::model::{Model, Models};

    fn path(url: &'static str) -> Option<String> {
        let routing = Routing::new(Paths::default(), Arc::default()).with_override("/todo/{id}");
        canonical_uri(&Uri::from_static(url), &routing).map(|uri| uri.to_string())
    }

    #[test]
    fn each_url_has_one_canonical_form() {
        for odd in ["/Todo", "/todo/", "/TODO/", "/%74odo", "/%54ODO/"] {
            assert_eq!(path(odd).as_deref(), Some("/todo"), "{odd}");
        }
        assert_eq!(path("/Todo/7").as_deref(), Some("/todo/7"));
        assert_eq!(path("/todo/a%2Fb/?Where=A").as_deref(), Some("/todo/a%2Fb?Where=A"));
        assert_eq!(path("http://Host/Todo/").as_deref(), Some("http://Host/todo"));
    }

    #[test]
    fn canonical_and_unrelated_urls_are_unchanged() {
        for url in ["/todo", "/todo?a=B", "/todo/7", "/Cart", "/Todo/7/tags", "/", "*", "/%ff"] {
            assert_eq!(path(url), None, "{url}");
        }
    }

    #[test]
    fn prefixes_and_plural_names_have_one_canonical_form() {
        let mut models = Models::default();
        let people = Model { plural: Some("people".to_owned()), ..Model::default() };
        models.declare("person", people).unwrap();
        let paths = Paths { prefix: "/api".to_owned(), ..Paths::default() };
        let routing = Routing::new(paths, Arc::new(models)).with_override("/api/people");
        let uri = canonical_uri(&Uri::from_static("/API/People/7/"), &routing).unwrap();
        assert_eq!(uri.path(), "/api/people/7");
    }
}
