//! Checks the key of a back end before the server takes the body of its request.
//!
//! The routes check it again, because they need to know which site it is of. Without this check, anybody could have
//! the server wait for bodies and keep them in memory.

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;

use super::caller::Caller;
use super::{publish, revoke, send};
use crate::error::{Result, in_our_words};
use crate::settings::ApiKey;
use crate::sites::Sites;

/// Who may send and publish.
#[derive(Clone)]
pub(crate) struct Admission {
    pub(crate) sites: Sites,
    pub(crate) api_key: Option<ApiKey>,
}

/// Refuses back ends that show no valid key.
pub(crate) async fn check(
    State(admission): State<Admission>,
    request: Request,
    next: Next,
) -> Response {
    let admit = match (request.method(), request.uri().path()) {
        (&Method::POST, send::PATH) => Admission::may_send,
        (&Method::POST, revoke::PATH) => Admission::may_revoke,
        (&Method::POST, publish::PATH) => Admission::may_publish,
        _ => return next.run(request).await,
    };
    let (mut parts, body) = request.into_parts();
    let refusal = match Caller::from_request_parts(&mut parts, &()).await {
        Ok(caller) => {
            admit(&admission, &caller, &parts.headers).err().map(IntoResponse::into_response)
        }
        Err(rejection) => Some(in_our_words(rejection).await),
    };
    match refusal {
        Some(refusal) => {
            take_what_is_there(body);
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
        caller.admitted(&self.sites).map(drop)
    }

    fn may_publish(&self, caller: &Caller, _: &HeaderMap) -> Result<()> {
        publish::admit(self.api_key.as_ref(), caller)
    }
}

/// Takes what has arrived of a body, without waiting for more. If it is all, the connection can be used again.
fn take_what_is_there(mut body: Body) {
    const MAX_FRAMES: usize = 16;
    for _ in 0..MAX_FRAMES {
        if !matches!(body.frame().now_or_never(), Some(Some(Ok(_)))) {
            return;
        }
    }
}
