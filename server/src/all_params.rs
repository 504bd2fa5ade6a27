//! All parameters of a request: Sails' `req.allParams()`, as an axum extractor.

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::response::IntoResponse;
use axum::response::Response;
use backwire_records::brackets;
use backwire_records::change::Attributes;

use crate::blueprints::Input;
use crate::error::Error;

/// The parameters in the path, in the body and in the query of a request. If a name is in several
/// of them, the path takes precedence, and then the body.
///
/// Parameters of the path and of the query are strings; `tags[]=a` and `user[name]=Ann` in the
/// query are lists and objects. The body is a JSON object or a form; what a socket sends as the
/// data of a request is its body.
///
/// ```
/// use axum::routing::get;
/// use backwire::{AllParams, Server};
///
/// async fn greet(AllParams(params): AllParams) -> String {
///     format!("Hello {}!", params["name"].as_str().unwrap_or("you"))
/// }
///
/// // `/greet/Ann`, and over a socket or HTTP: `{"name": "Ann"}` to `/greet`.
/// let server = Server::builder().route("/greet/{name}", get(greet)).route("/greet", get(greet));
/// ```
#[derive(Debug, Clone, Default)]
pub struct AllParams(pub Attributes);

impl<S: Send + Sync> FromRequest<S> for AllParams {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let refused = |error: Error| error.into_response();
        let mut all = brackets::read(query).map_err(Error::BadForm).map_err(refused)?;
        let path = RawPathParams::from_request_parts(&mut parts, state)
            .await
            .map_err(IntoResponse::into_response)?;
        let path: Vec<_> =
            path.iter().map(|(name, value)| (name.to_owned(), value.to_owned().into())).collect();
        let body = Input::from_request(Request::from_parts(parts, body), state);
        all.extend(body.await.and_then(|body| body.attributes()).map_err(refused)?);
        all.extend(path);
        Ok(Self(all))
    }
}
