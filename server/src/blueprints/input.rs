//! The body of a request.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use backwire_records::brackets;
use backwire_records::change::{Attributes, Id};
use backwire_records::write::WriteError;
use http::header;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::http::emulation;
use crate::parse_claim::parse;
use crate::shared::Shared;

/// The unparsed body of a request.
#[derive(Debug)]
pub(crate) struct Input(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Input {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let is_form = kind.is_some_and(|kind| kind.as_bytes().starts_with(emulation::FORM));
        let bytes = emulation::read(body, Shared::of(&parts).body_limit).await?;
        // Some clients send JSON with another content type: curl declares every body as a form.
        let is_json = matches!(bytes.first(), None | Some(b'{' | b'['));
        if is_form && !is_json { from_form(&bytes) } else { Ok(Self(bytes)) }
    }
}

/// Returns the record of a form. Its values are texts.
fn from_form(form: &[u8]) -> Result<Input> {
    let record = brackets::read(form).map_err(Error::BadForm)?;
    let json = serde_json::to_vec(&record).expect("a map with string keys is JSON");
    Ok(Input(json.into()))
}

/// The maximum number of records that one request may create or name.
const MAX_RECORDS: usize = 1_000;

/// The records to create.
pub(super) enum Records {
    One(Attributes),
    Many(Vec<Attributes>),
}

impl Input {
    /// Checks the limit of the resource, which may be lower than that of the server.
    pub(super) fn check_size(&self, limit: Option<usize>) -> Result<()> {
        match limit {
            Some(limit) if self.0.len() > limit => Err(Error::too_large(self.0.len(), limit)),
            _ => Ok(()),
        }
    }

    /// Returns the records of the body, with the attributes in the url.
    pub(super) fn records_with_query(&self, query: Vec<(String, String)>) -> Result<Records> {
        if !matches!(self.0.first(), Some(b'[')) {
            return self.attributes_with_query(query).map(Records::One);
        }
        let list: Vec<Value> = parse(&self.0).map_err(|error| Error::BadJson(error.to_string()))?;
        if list.len() > MAX_RECORDS {
            let size = format!("{} records", list.len());
            return Err(Error::TooLarge { size, limit: MAX_RECORDS });
        }
        let record = |record| match record {
            Value::Object(record) => Ok(record),
            _ => Err(Error::BadBody("each of a list has to be a JSON object")),
        };
        list.into_iter().map(record).collect::<Result<_>>().map(Records::Many)
    }

    /// Parses a list of ids. Duplicates are removed.
    pub(super) fn ids(&self) -> Result<BTreeSet<Id>> {
        const LIST: &str = "the body has to be a list of ids";
        let list: Vec<Value> = parse(&self.0).map_err(|_| Error::BadBody(LIST))?;
        if list.len() > MAX_RECORDS {
            return Err(Error::TooLarge {
                size: format!("{} ids", list.len()),
                limit: MAX_RECORDS,
            });
        }
        let ids = list.iter().map(|id| {
            let refused =
                || if id.is_string() { WriteError::BadId.into() } else { Error::BadBody(LIST) };
            Id::from_json(id).ok_or_else(refused)
        });
        ids.collect()
    }

    pub(super) fn attributes_with_query(&self, query: Vec<(String, String)>) -> Result<Attributes> {
        Ok(with_query(query, self.attributes()?))
    }

    /// Returns the attributes of the body. Without a body there are none: a create makes a record
    /// of defaults, as in Sails.
    pub(crate) fn attributes(&self) -> Result<Attributes> {
        if self.0.is_empty() {
            return Ok(Attributes::new());
        }
        match parse(&self.0) {
            Ok(Value::Object(attributes)) => Ok(attributes),
            Ok(_) => Err(Error::BadBody("the body has to be a JSON object")),
            Err(error) => Err(Error::BadJson(error.to_string())),
        }
    }
}

/// Adds the parameters of the url to the attributes of the body. The body takes precedence.
fn with_query(query: Vec<(String, String)>, body: Attributes) -> Attributes {
    let mut all: Attributes =
        query.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    all.extend(body);
    all
}
