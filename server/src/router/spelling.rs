//! One spelling for each url.
//!
//! The ready-made routes understand `/Todo/` as `/todo`. Who answers in their place must not be passed
//! by because somebody spells it so.

use std::sync::Arc;

use axum::extract::{Request, State};
use http::Uri;
use http::uri::PathAndQuery;

use crate::route::Routing;

/// Spells a url as the routes do.
pub(super) async fn correct(State(routing): State<Arc<Routing>>, mut request: Request) -> Request {
    if let Some(uri) = corrected(request.uri(), &routing) {
        *request.uri_mut() = uri;
    }
    request
}

/// `None` where it is spelled so already, or is about something else.
fn corrected(uri: &Uri, routing: &Routing) -> Option<Uri> {
    let mut path = routing.spelling(uri.path()).filter(|path| path != uri.path())?;
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
        let routing = Routing::new(Paths::default(), Arc::default()).with_own("/todo/{id}");
        corrected(&Uri::from_static(url), &routing).map(|uri| uri.to_string())
    }

    #[test]
    fn there_is_one_spelling_for_each_url() {
        for odd in ["/Todo", "/todo/", "/TODO/", "/%74odo", "/%54ODO/"] {
            assert_eq!(path(odd).as_deref(), Some("/todo"), "{odd}");
        }
        assert_eq!(path("/Todo/7").as_deref(), Some("/todo/7"));
        assert_eq!(path("/todo/a%2Fb/?Where=A").as_deref(), Some("/todo/a%2Fb?Where=A"));
        assert_eq!(path("http://Host/Todo/").as_deref(), Some("http://Host/todo"));
    }

    #[test]
    fn what_is_right_or_about_something_else_is_left_as_it_is() {
        for url in ["/todo", "/todo?a=B", "/todo/7", "/Cart", "/Todo/7/tags", "/", "*", "/%ff"] {
            assert_eq!(path(url), None, "{url}");
        }
    }

    #[test]
    fn prefixes_and_plural_names_have_one_spelling_too() {
        let mut models = Models::default();
        let people = Model { plural: Some("people".to_owned()), ..Model::default() };
        models.declare("person", people).unwrap();
        let paths = Paths { prefix: "/api".to_owned(), ..Paths::default() };
        let routing = Routing::new(paths, Arc::new(models)).with_own("/api/people");
        let uri = corrected(&Uri::from_static("/API/People/7/"), &routing).unwrap();
        assert_eq!(uri.path(), "/api/people/7");
    }
}
