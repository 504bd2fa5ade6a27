//! All parameters of a request, as an axum extractor: `req.allParams()` of Sails.

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::response::IntoResponse;
use axum::response::Response;
use backwire_records::brackets;
use backwire_records::change::Attributes;

use crate::blueprints::Input;
use crate::error::Error;

/// An axum extractor of all parameters of a request: those in the path, the body and the query. If
/// a name is in several of them, the value in the path takes precedence, then that in the body.
///
/// Parameters in the path and the query are strings; `tags[]=a` and `user[name]=Ann` in the query
/// are a list and an object. The body is a JSON object or a form. The data of a request over a
/// socket is its body.
///
/// If the query or the body cannot be read, the request is refused without a call of the handler.
///
/// ```
/// use axum::routing::get;
/// use backwire::{AllParams, Server};
///
/// // Answers `/greet/Ann`, `/greet?name=Ann`, and `/greet` with the data `{"name": "Ann"}`.
/// async fn greet(AllParams(params): AllParams) -> String {
///     let name = params.get("name").and_then(|name| name.as_str());
///     format!("Hello {}!", name.unwrap_or("you"))
/// }
///
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
