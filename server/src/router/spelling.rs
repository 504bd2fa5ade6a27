//! One spelling for each url.
//!
//! The ready-made routes understand `/Todo/` as `/todo`. Who answers in their place must not be passed
//! by because somebody spells it so.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use http::Uri;
use http::uri::PathAndQuery;
use percent_encoding::percent_decode_str;

use crate::change::Resource;

/// Resources that have handlers of their own.
pub(super) type Names = Arc<HashSet<Resource>>;

/// Spells a url as the routes do.
pub(super) async fn correct(State(names): State<Names>, mut request: Request) -> Request {
    if let Some(uri) = corrected(request.uri(), &names) {
        *request.uri_mut() = uri;
    }
    request
}

/// `None` where it is spelled so already, or is about something else.
fn corrected(uri: &Uri, names: &HashSet<Resource>) -> Option<Uri> {
    let mut segments = uri.path().strip_prefix('/')?.split('/');
    let name = percent_decode_str(segments.next()?).decode_utf8().ok()?;
    let name = Resource::parse(&name).filter(|name| names.contains(name))?;
    let rest: Vec<&str> = segments.collect();
    let mut path = match *rest.as_slice() {
        [] | [""] => format!("/{name}"),
        [id] | [id, ""] => format!("/{name}/{id}"),
        _ => return None,
    };
    if path == uri.path() {
        return None;
    }
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

    fn path(url: &'static str) -> Option<String> {
        let names = HashSet::from([Resource::parse("todo").unwrap()]);
        corrected(&Uri::from_static(url), &names).map(|uri| uri.to_string())
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
}
