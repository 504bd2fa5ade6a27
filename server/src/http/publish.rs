//! `POST /publish`: the same as `publish_create` and its like, for back ends in other languages.
//!
//! They say which site they mean and prove with its key that they may. A key that is wrong and a site
//! that is not there are refused alike, so that nobody finds out by trying which sites there are.

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
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

pub(super) const PATH: &str = "/publish";

/// The one site there is.
const SITE: &str = "/";

/// The route, for those who have the key. Without one nobody has.
pub(crate) fn router(key: Option<ApiKey>) -> Router {
    Router::new().route(PATH, post(publish)).with_state(key)
}

/// What there is to be told: `{model, verb, id, data}`.
#[derive(Deserialize)]
struct News {
    model: Option<Value>,
    verb: Option<Value>,
    id: Option<Value>,
    data: Option<Value>,
}

/// Where it stands in the log.
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
    admit(key.as_ref(), &caller)?;
    let news: News = parse(&body).map_err(not_understood)?;
    let (resource, publication) = news.read(&cx)?;
    let change = cx.of_api_key().commit(resource, Action::Publish(publication)).await?;
    Ok(at(change.position))
}

/// Whether a back end may publish.
pub(super) fn admit(key: Option<&ApiKey>, caller: &Caller) -> Result<()> {
    let key = key.ok_or(Error::NoApiKey)?;
    let is_site = caller.site.as_deref().is_none_or(|site| site == SITE);
    if !key.is(caller.key.as_deref().unwrap_or_default()) || !is_site {
        return Err(Error::BadApiKey);
    }
    Ok(())
}

fn at(position: Position) -> ([(HeaderName, String); 1], Json<Published>) {
    let position = position.to_string();
    let header = (HeaderName::from_static("backwire-position"), position.clone());
    ([header], Json(Published { position }))
}

fn not_understood(error: serde_json::Error) -> Error {
    match error.classify() {
        serde_json::error::Category::Data => Error::BadBody("the body has to be a JSON object"),
        _ => Error::BadJson(error.to_string()),
    }
}

impl News {
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

/// As Sails 0.9 and as Sails 1.x say it.
fn verb(text: &str) -> Option<Verb> {
    Some(match text {
        "create" | "created" => Verb::Create,
        "update" | "updated" => Verb::Update,
        "destroy" | "destroyed" => Verb::Destroy,
        _ => return None,
    })
}

/// It may be among the data, and must not be another there.
fn id(said: Option<&Value>, among_data: Option<&Value>) -> Result<Id> {
    let among_data = among_data.map(|id| id.to_id());
    let id = match (said, among_data) {
        (Some(said), None) => Id::from_json(said),
        (Some(said), Some(other)) => Id::from_json(said).filter(|id| Some(id) == other.as_ref()),
        (None, among_data) => among_data.flatten(),
    };
    id.ok_or(Error::BadField("id", "it has to be an integer or a string, and the same in the data"))
}
