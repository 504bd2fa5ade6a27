//! The built-in request handlers: find, create, update, destroy. Each handler lists its steps in
//! order.
//!
//! Handlers do not publish: a commit appends to the log, and the fan-out follows the log.
//!
//! In reading order: `dispatch` chooses the handler; `target` parses the url and `input` the body;
//! `reply` builds the response; `associated` handles the routes of associations; `custom_handlers`
//! is for handlers of the user.

mod associated;
mod associated_values;
mod custom_handlers;
mod dispatch;
mod input;
mod reply;
mod target;
mod writes;

use backwire_records::change::{Attributes, Id, Resource};
use backwire_records::criteria::{Criteria, Language, Parameters};
use backwire_records::model::{Model, Populate};
use backwire_records::write::{Action, WriteError};

use crate::context::Context;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::populate::Populator;
use crate::route::Route;
use crate::socket::Client;
use crate::subscription;

pub(crate) use dispatch::answer;
pub(crate) use input::Input;
pub use reply::Reply;
pub(crate) use target::Target;

/// `GET /todo`
async fn find(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let data = input.attributes()?;
    let Target { route: Route { resource, .. }, model, query } = of;
    if sends_models(&cx)
        && let Some(id) = id_in_request(&query, &data, &model.key)
    {
        let criteria = Criteria::with_attribute_in(&model, &model.key, [&id]);
        return read_one(&cx, (resource, id), criteria, &model.default_populate()).await;
    }
    let mut parameters = parameters(&cx, &resource, &model, query, data)?;
    let populate = populate(&mut parameters, &model)?;
    let populator = Populator::new(&cx, &resource, &populate);
    let mut criteria = Criteria::read_for(&model, parameters, language_of(&cx))?;
    populator.add_to_criteria(&mut criteria);
    let read = subscription::find(&cx, &resource, criteria).await?;
    Reply::records(&cx, populator.populate_read(read).await?, cx.reads())
}

/// `GET /todo/7`
async fn find_one(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let data = input.attributes()?;
    let Target { route: Route { resource, id, .. }, model, query } = of;
    let (requested, id) = match language_of(&cx) {
        // Clients of Sails 0.9 send the model with a read.
        Language::Sails09 => (Attributes::new(), one_id(id, &data, &model.key)?),
        Language::Current => (data, id.ok_or_else(|| no_id(&model.key))?),
    };
    let mut parameters = parameters(&cx, &resource, &model, query, requested)?;
    let populate = populate(&mut parameters, &model)?;
    let criteria = Criteria::read_of_one(&model, &id, parameters)?;
    read_one(&cx, (resource, id), criteria, &populate).await
}

/// Returns the parameters of a read. A parameter that is ignored is logged once for each resource.
fn parameters(
    cx: &Context,
    resource: &Resource,
    model: &Model,
    mut query: Vec<(String, String)>,
    mut data: Attributes,
) -> Result<Parameters> {
    if model.conventions.are_of_sails() {
        read_limit_of_sails(&mut query, &mut data);
    }
    let parameters = Parameters::read(query, data)?;
    for name in model.ignored(&parameters) {
        if cx.shared().ignored_parameters.is_new((resource.clone(), name.to_owned())) {
            tracing::info!(
                %resource,
                parameter = name,
                "parameter of a read ignored; `where` filters by an attribute of this name"
            );
        }
    }
    Ok(parameters)
}

/// Replaces the limit -1, which means none in Sails.
fn read_limit_of_sails(query: &mut [(String, String)], data: &mut Attributes) {
    let in_query = query.iter_mut().filter(|(name, limit)| name == "limit" && limit == "-1");
    in_query.for_each(|(_, limit)| *limit = u32::MAX.to_string());
    let in_data = data.get_mut("limit").filter(|limit| limit.as_i64() == Some(-1));
    in_data.into_iter().for_each(|limit| *limit = u32::MAX.into());
}

/// Returns the associations to populate: those of the request, or else those of the model.
fn populate(parameters: &mut Parameters, model: &Model) -> Result<Populate> {
    let requested = Populate::take(parameters, model.associations())?;
    Ok(requested.unwrap_or_else(|| model.default_populate()))
}

/// Returns the query language of the caller. Only a connection shows that a client speaks Sails
/// 0.9. Over HTTP all callers use the current language.
fn language_of(cx: &Context) -> Language {
    cx.client().map_or(Language::Current, |client| client.dialect().language())
}

/// Whether the caller sends the model with a read. The model may be the only place where the id is.
fn sends_models(cx: &Context) -> bool {
    let dialect = cx.client().map(Client::dialect);
    matches!(dialect, Some(Dialect::Sails09 | Dialect::Node))
}

/// Reads the one record that the criteria pick, with the attributes that they select.
async fn read_one(
    cx: &Context,
    (resource, id): (Resource, Id),
    mut criteria: Criteria,
    populate: &Populate,
) -> Result<Reply> {
    let populator = Populator::new(cx, &resource, populate);
    populator.add_to_criteria(&mut criteria);
    let read = subscription::find_one_with(cx, &resource, &id, criteria).await?;
    let read = populator.populate_read(read.map(|record| record.into_iter().collect())).await?;
    Reply::one_record(cx, (resource, id), read.map(|mut records| records.pop()), cx.reads())
}

/// Commits the only write of a request, and returns its answer.
pub(crate) async fn write(cx: &Context, resource: Resource, action: Action) -> Result<Reply> {
    let change = cx.commit_and_pass_turn(resource, action).await?;
    Reply::written(cx, &change).await
}

/// Returns the id of the record, which is in the url, in the body, or the same in both.
fn one_id(in_url: Option<Id>, attributes: &Attributes, key: &str) -> Result<Id> {
    let in_body = attributes.get(key).filter(|id| !id.is_null());
    match (in_url, in_body) {
        (Some(url), None) => Ok(url),
        (None, None) => Err(no_id(key)),
        (None, Some(body)) => Id::from_json(body).ok_or_else(|| WriteError::BadId.into()),
        (Some(url), Some(body)) if Id::from_json(body).as_ref() == Some(&url) => Ok(url),
        (Some(url), Some(body)) => Err(Error::BadId { url, body: body.to_string() }),
    }
}

fn no_id(key: &str) -> Error {
    Error::MissingId(key.to_owned())
}

/// Returns the id of the one record that a caller which sends models asks for.
fn id_in_request(query: &[(String, String)], data: &Attributes, key: &str) -> Option<Id> {
    let in_query = || query.iter().find(|(name, _)| name == key);
    let in_data = data.get(key).and_then(Id::from_json);
    in_data.or_else(|| Id::parse(&in_query()?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(in_url: Option<&str>, body: &str) -> Result<Id> {
        one_id(in_url.and_then(Id::parse), &serde_json::from_str(body).unwrap(), "id")
    }

    #[test]
    fn id_is_in_url_or_body_or_equal_in_both() {
        assert_eq!(id(Some("7"), "{}").unwrap(), Id::Integer(7));
        assert_eq!(id(Some("7"), r#"{"id":"7"}"#).unwrap(), Id::Integer(7));
        assert_eq!(id(Some("7"), r#"{"id":null}"#).unwrap(), Id::Integer(7));
        assert_eq!(id(None, r#"{"id":"a"}"#).unwrap(), Id::Text("a".into()));
        assert!(matches!(id(None, "{}"), Err(Error::MissingId(key)) if key == "id"));
        assert!(matches!(id(Some("1"), r#"{"id":2}"#), Err(Error::BadId { .. })));
        assert!(id(None, r#"{"id":[]}"#).is_err());
    }
}
