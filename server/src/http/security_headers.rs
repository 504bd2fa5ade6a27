//! Headers that forbid browsers and caches unsafe uses of an answer.
//!
//! A header that a handler has set stays unchanged.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Extensions, HeaderName, HeaderValue, header};

use crate::settings::AllowedOrigin;

/// The headers of every answer, in the order in which they are set.
#[derive(Debug, Clone)]
pub(crate) struct SecurityHeaders(Arc<[(HeaderName, HeaderValue)]>);

impl SecurityHeaders {
    /// Creates the headers. Pages of the server's own origin and of `frame_ancestors` may embed
    /// pages of this server in frames.
    pub(crate) fn new(frame_ancestors: &[AllowedOrigin]) -> Self {
        let nosniff = HeaderValue::from_static("nosniff");
        let referrer = HeaderValue::from_static("strict-origin-when-cross-origin");
        let always =
            [(header::X_CONTENT_TYPE_OPTIONS, nosniff), (header::REFERRER_POLICY, referrer)];
        let frames = frame_policy(frame_ancestors);
        let frames = frames.map(|policy| (header::CONTENT_SECURITY_POLICY, policy));
        Self(always.into_iter().chain(frames).collect())
    }
}

/// Returns the policy, or `None` if pages of any origin may embed pages of this server.
fn frame_policy(frame_ancestors: &[AllowedOrigin]) -> Option<HeaderValue> {
    let mut policy = "frame-ancestors 'self'".to_owned();
    for origin in frame_ancestors {
        if origin.is_any() {
            return None;
        }
        write!(policy, " {origin}").expect("a text takes all that is written to it");
    }
    HeaderValue::from_str(&policy).ok()
}

/// Sets the headers of an answer.
pub(crate) async fn attach(
    State(SecurityHeaders(all)): State<SecurityHeaders>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in &*all {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

/// Records whether the answer to a request depends on the session of its caller.
#[derive(Debug, Clone, Default)]
pub(crate) struct PrivateResponse(Arc<AtomicBool>);

impl PrivateResponse {
    /// Records in the extensions of a request that the answer depends on the session.
    pub(crate) fn mark(extensions: &Extensions) {
        if let Some(Self(is_private)) = extensions.get() {
            is_private.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the record of a request, so that a handler can set it later.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().cloned()
    }

    /// Records that the answer depends on the session.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Prevents caches from serving the answer for one caller to another.
pub(crate) async fn keep_private(mut request: Request, next: Next) -> Response {
    let private_response = PrivateResponse::default();
    request.extensions_mut().insert(private_response.clone());
    let mut response = next.run(request).await;
    if private_response.0.load(Ordering::Relaxed) {
        let headers = response.headers_mut();
        let private = HeaderValue::from_static("private");
        headers.entry(header::CACHE_CONTROL).or_insert(private);
        headers.append(header::VARY, HeaderValue::from_static("cookie"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_policy_allows_the_own_origin_and_named_origins() {
        let policy = |origins: &[&str]| {
            let origins: Vec<_> = origins.iter().map(|origin| origin.parse().unwrap()).collect();
            frame_policy(&origins).map(|policy| policy.to_str().unwrap().to_owned())
        };
        assert_eq!(policy(&[]).unwrap(), "frame-ancestors 'self'");
        let portal = "https://portal.example";
        assert_eq!(policy(&[portal]).unwrap(), format!("frame-ancestors 'self' {portal}"));
        assert_eq!(policy(&[portal, "*"]), None);
    }
}
