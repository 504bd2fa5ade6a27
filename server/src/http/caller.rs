//! The site that a back end names, and the key that it shows: `?site=…&apiKey=…`, or the key in an
//! `Authorization` header, which logs of urls do not contain.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, header};
use serde::Deserialize;

use crate::error::Error;
use crate::sites::{Name, Site, Sites};

/// The site and the key that a back end sends.
#[derive(Default)]
pub(crate) struct Caller {
    pub(crate) site: Option<String>,
    pub(crate) key: Option<String>,
}

#[derive(Deserialize)]
struct CallerQuery {
    site: Option<String>,
    #[serde(rename = "apiKey")]
    key: Option<String>,
}

impl Caller {
    /// Returns the site that the back end names, if the key is valid for it.
    pub(crate) fn authenticate(&self, sites: &Sites) -> Result<(Name, Arc<Site>), Error> {
        let non_empty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let site = non_empty(&self.site).ok_or(Error::MissingCredentials("site"))?;
        let key = non_empty(&self.key).ok_or(Error::MissingCredentials("apiKey"))?;
        sites.authenticate(&site, &key).ok_or(Error::BadApiKey)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let Query(CallerQuery { site, key }) =
            Query::try_from_uri(&parts.uri).map_err(IntoResponse::into_response)?;
        Ok(Self { site, key: key.or_else(|| in_header(&parts.headers)) })
    }
}

/// Returns the key of the `Authorization` header, with or without the word `Bearer` before it.
fn in_header(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let key = match text.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
        _ => text,
    };
    Some(key.to_owned())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    async fn caller(uri: &str, authorization: &str) -> (Option<String>, Option<String>) {
        let request = Request::get(uri).header(header::AUTHORIZATION, authorization);
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let caller = Caller::from_request_parts(&mut parts, &()).await.unwrap_or_default();
        (caller.site, caller.key)
    }

    #[tokio::test]
    async fn key_is_read_from_the_query_or_a_header() {
        let key = |key: &str| (Some("a".to_owned()), Some(key.to_owned()));
        assert_eq!(caller("/send?site=a&apiKey=k", "Bearer other").await, key("k"));
        for header in ["Bearer k", "bearer  k", "k"] {
            assert_eq!(caller("/send?site=a", header).await, key("k"));
        }
        assert_eq!(caller("/send?site=a&site=b", "k").await, (None, None));
    }
}
