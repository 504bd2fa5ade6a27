//! Checks the key of a back end before the server reads the body of its request.
//!
//! The routes check the key again, because they need the site of the key. Without this check,
//! anybody could make the server wait for bodies and keep them in memory.

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;

use super::caller::Caller;
use super::{publish, revoke, send};
use crate::error::{Result, normalize_error};
use crate::settings::ApiKey;
use crate::sites::Sites;

/// The keys of back ends that may send, revoke and publish.
#[derive(Clone)]
pub(crate) struct Admission {
    pub(crate) sites: Sites,
    pub(crate) api_key: Option<ApiKey>,
}

/// Refuses requests of back ends without a valid key.
pub(crate) async fn check(
    State(admission): State<Admission>,
    request: Request,
    next: Next,
) -> Response {
    let authorize = match (request.method(), request.uri().path()) {
        (&Method::POST, send::PATH) => Admission::may_send,
        (&Method::POST, revoke::PATH) => Admission::may_revoke,
        (&Method::POST, publish::PATH) => Admission::may_publish,
        _ => return next.run(request).await,
    };
    let (mut parts, body) = request.into_parts();
    let refusal = match Caller::from_request_parts(&mut parts, &()).await {
        Ok(caller) => {
            authorize(&admission, &caller, &parts.headers).err().map(IntoResponse::into_response)
        }
        Err(rejection) => Some(normalize_error(rejection).await),
    };
    match refusal {
        Some(refusal) => {
            discard_received(body);
            refusal
        }
        None => next.run(Request::from_parts(parts, body)).await,
    }
}

impl Admission {
    fn may_send(&self, caller: &Caller, headers: &HeaderMap) -> Result<()> {
        send::check(&self.sites, caller, headers)
    }

    fn may_revoke(&self, caller: &Caller, _: &HeaderMap) -> Result<()> {
        caller.authenticate(&self.sites).map(drop)
    }

    fn may_publish(&self, caller: &Caller, _: &HeaderMap) -> Result<()> {
        publish::authorize(self.api_key.as_ref(), caller)
    }
}

/// Reads and discards the part of a body that has arrived, without waiting for more. If the body is
/// complete, the client can use the connection again.
fn discard_received(mut body: Body) {
    const MAX_FRAMES: usize = 16;
    for _ in 0..MAX_FRAMES {
        if !matches!(body.frame().now_or_never(), Some(Some(Ok(_)))) {
            return;
        }
    }
}
