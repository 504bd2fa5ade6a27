//! `POST /publish`: the same as `publish_create` and the other publish functions, for back ends in
//! other languages.
//!
//! A back end names its site and shows the key of the site. A wrong key and an unknown site get the
//! same refusal, so that nobody can find out which sites exist.

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use backwire_protocol::wire;
use backwire_records::change::{Attributes, Id, Position, Resource, ToId, Verb};
use backwire_records::write::{Action, Publication};
use http::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::http::caller::Caller;
use crate::parse_claim::parse;
use crate::settings::ApiKey;

pub(crate) const PATH: &str = "/publish";

/// The only site.
const SITE: &str = "/";

/// Creates the route, for back ends that show the key. Without a key, every request is refused.
pub(crate) fn router(key: Option<ApiKey>) -> Router {
    Router::new().route(PATH, post(publish)).with_state(key)
}

/// The body of a request, before its fields are checked: `{model, verb, id, data}`.
#[derive(Deserialize)]
struct RawPublication {
    model: Option<Value>,
    verb: Option<Value>,
    id: Option<Value>,
    data: Option<Value>,
}

/// The answer: the position of the change in the log.
#[derive(Serialize)]
struct Published {
    position: String,
}

async fn publish(
    State(key): State<Option<ApiKey>>,
    caller: Caller,
    cx: Context,
    body: Bytes,
) -> Result<([(HeaderName, String); 1], Json<Published>)> {
    authorize(key.as_ref(), &caller)?;
    let raw: RawPublication = parse(&body).map_err(parse_error)?;
    let (resource, publication) = raw.read(&cx)?;
    let change = cx.with_api_key_identity().commit(resource, Action::Publish(publication)).await?;
    Ok(at(change.position))
}

/// Checks whether a back end may publish.
pub(super) fn authorize(key: Option<&ApiKey>, caller: &Caller) -> Result<()> {
    let key = key.ok_or(Error::NoApiKey)?;
    let is_site = caller.site.as_deref().is_none_or(|site| site == SITE);
    if !key.is(caller.key.as_deref().unwrap_or_default()) || !is_site {
        return Err(Error::BadApiKey);
    }
    Ok(())
}

fn at(position: Position) -> ([(HeaderName, String); 1], Json<Published>) {
    let position = position.to_string();
    let header = (HeaderName::from_static(wire::header::POSITION), position.clone());
    ([header], Json(Published { position }))
}

fn parse_error(error: serde_json::Error) -> Error {
    match error.classify() {
        serde_json::error::Category::Data => Error::BadBody("the body has to be a JSON object"),
        _ => Error::BadJson(error.to_string()),
    }
}

impl RawPublication {
    fn read(self, cx: &Context) -> Result<(Resource, Publication)> {
        let model = self.model.as_ref().and_then(Value::as_str).and_then(Resource::parse);
        let model = model.ok_or(Error::BadField("model", "it has to be the name of a resource"))?;
        let verb = self.verb.as_ref().and_then(Value::as_str).and_then(verb);
        let verb = verb.ok_or(Error::BadField("verb", "it has to be create, update or destroy"))?;
        let data = match self.data {
            Some(Value::Object(data)) => data,
            None if verb == Verb::Destroy => Attributes::new(),
            _ => return Err(Error::BadField("data", "it has to be an object")),
        };
        let key = cx.model(&model).map_or_else(|_| "id".to_owned(), |model| model.key.clone());
        let id = id(self.id.as_ref(), data.get(&key))?;
        Ok((model, Publication { verb, id, data }))
    }
}

/// Parses a verb, as Sails 0.9 and as Sails 1.x spell it.
fn verb(text: &str) -> Option<Verb> {
    Some(match text {
        "create" | "created" => Verb::Create,
        "update" | "updated" => Verb::Update,
        "destroy" | "destroyed" => Verb::Destroy,
        _ => return None,
    })
}

/// Parses the id. It may be in the data instead. If it is in both places, both must be the same.
fn id(own: Option<&Value>, in_data: Option<&Value>) -> Result<Id> {
    let in_data = in_data.map(|id| id.to_id());
    let id = match (own, in_data) {
        (Some(own), None) => Id::from_json(own),
        (Some(own), Some(other)) => Id::from_json(own).filter(|id| Some(id) == other.as_ref()),
        (None, in_data) => in_data.flatten(),
    };
    id.ok_or(Error::BadField(
        "id",
        "it has to be an integer or a string of 1 to 255 bytes without control characters, and the same in the data",
    ))
}
