//! What came in the body of a request.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use backwire_records::brackets;
use backwire_records::change::{Attributes, Id};
use http::{StatusCode, header};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::http::emulation;
use crate::parse_claim::parse;

/// As it came.
#[derive(Debug)]
pub(crate) struct Input(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Input {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let limit = request.extensions().get::<BodyLimit>().map_or(usize::MAX, |limit| limit.0);
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is_form = kind.is_some_and(|kind| kind.as_bytes().starts_with(emulation::FORM));
        let read = Bytes::from_request(request, state).await;
        let too_large = || Error::TooLarge { size: format!("more than {limit} bytes"), limit };
        let bytes = read.map_err(|refused| match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => Error::BadBody("the body could not be read"),
        })?;
        // Not everybody who sends JSON says so: curl calls whatever it sends a form.
        let is_json = matches!(bytes.first(), None | Some(b'{' | b'['));
        if is_form && !is_json { of_form(&bytes) } else { Ok(Self(bytes)) }
    }
}

/// A form is a record, whose values are texts.
fn of_form(form: &[u8]) -> Result<Input> {
    let record = brackets::read(form).map_err(Error::BadForm)?;
    let json = serde_json::to_vec(&record).expect("a map with string keys is JSON");
    Ok(Input(json.into()))
}

/// How many records one request may create, or name.
const MOST: usize = 1_000;

/// What is to be created.
pub(super) enum Records {
    One(Attributes),
    Many(Vec<Attributes>),
}

impl Input {
    /// What a resource takes may be less than what the server does.
    pub(super) fn within(&self, limit: Option<usize>) -> Result<()> {
        match limit {
            Some(limit) if self.0.len() > limit => Err(Error::too_large(self.0.len(), limit)),
            _ => Ok(()),
        }
    }

    /// What the body says and the url beside it.
    pub(super) fn records_and(&self, query: Vec<(String, String)>) -> Result<Records> {
        if !matches!(self.0.first(), Some(b'[')) {
            return self.attributes_and(query).map(Records::One);
        }
        let list: Vec<Value> = parse(&self.0).map_err(|error| Error::BadJson(error.to_string()))?;
        if list.len() > MOST {
            let size = format!("{} records", list.len());
            return Err(Error::TooLarge { size, limit: MOST });
        }
        let record = |record| match record {
            Value::Object(record) => Ok(record),
            _ => Err(Error::BadBody("each of a list has to be a JSON object")),
        };
        list.into_iter().map(record).collect::<Result<_>>().map(Records::Many)
    }

    /// A list of ids, each counted once.
    pub(super) fn ids(&self) -> Result<BTreeSet<Id>> {
        const LIST: &str = "the body has to be a list of ids";
        let list: Vec<Value> = parse(&self.0).map_err(|_| Error::BadBody(LIST))?;
        if list.len() > MOST {
            return Err(Error::TooLarge { size: format!("{} ids", list.len()), limit: MOST });
        }
        let ids = list.iter().map(|id| Id::from_json(id).ok_or(Error::BadBody(LIST)));
        ids.collect()
    }

    pub(super) fn attributes_and(&self, query: Vec<(String, String)>) -> Result<Attributes> {
        if self.0.is_empty() && !query.is_empty() {
            return Ok(with(query, Attributes::new()));
        }
        Ok(with(query, self.attributes()?))
    }

    pub(super) fn attributes_if_any_and(&self, query: Vec<(String, String)>) -> Result<Attributes> {
        Ok(with(query, self.attributes_if_any()?))
    }

    pub(super) fn attributes(&self) -> Result<Attributes> {
        match parse(&self.0) {
            Ok(Value::Object(attributes)) => Ok(attributes),
            Ok(_) => Err(Error::BadBody("the body has to be a JSON object")),
            Err(_) if self.0.is_empty() => Err(Error::BadBody("there is no body")),
            Err(error) => Err(Error::BadJson(error.to_string())),
        }
    }

    pub(super) fn attributes_if_any(&self) -> Result<Attributes> {
        if self.0.is_empty() { Ok(Attributes::new()) } else { self.attributes() }
    }
}

/// Parameters are attributes as well; the body wins.
fn with(query: Vec<(String, String)>, body: Attributes) -> Attributes {
    let mut all: Attributes =
        query.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    all.extend(body);
    all
}

/// How many bytes a body may have, for the refusal to say so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimit(pub(crate) usize);
