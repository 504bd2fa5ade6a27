//! The parts of replies. A reply of another form is an error: the data are not what the scripts
//! write.

use std::str::FromStr;
use std::vec;

use redis::Value;

use crate::Error;

/// The parts of a list in a reply, in their order.
pub(super) struct Reply(vec::IntoIter<Value>);

impl Reply {
    /// Reads a list.
    pub(super) fn list(value: Value) -> Result<Self, Error> {
        match value {
            Value::Array(list) => Ok(Self(list.into_iter())),
            Value::Nil => Ok(Self(Vec::new().into_iter())),
            other => Err(malformed(&other)),
        }
    }

    /// Returns the next part of the list.
    pub(super) fn value(&mut self) -> Result<Value, Error> {
        self.0.next().ok_or_else(|| Error::Unavailable("a reply of Redis is too short".to_owned()))
    }

    /// Returns the number of parts.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the largest part by its size.
    pub(super) fn largest(&self, size: impl Fn(&Value) -> usize) -> usize {
        self.0.as_slice().iter().map(size).max().unwrap_or_default()
    }

    /// Returns the last part without taking it.
    pub(super) fn peek_last(&self) -> Option<&Value> {
        self.0.as_slice().last()
    }

    /// Returns the next part, which is a list.
    pub(super) fn next_list(&mut self) -> Result<Self, Error> {
        self.value().and_then(Self::list)
    }

    /// Returns the next part, which is nothing or a list.
    pub(super) fn optional_list(&mut self) -> Result<Option<Self>, Error> {
        match self.value()? {
            Value::Nil => Ok(None),
            list => Self::list(list).map(Some),
        }
    }

    /// Returns the next part, which is nothing or bytes.
    pub(super) fn optional_bytes(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.value()? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes)),
            other => Err(malformed(&other)),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        Ok(self.optional_bytes()?.unwrap_or_default())
    }

    pub(super) fn optional_text(&mut self) -> Result<Option<String>, Error> {
        self.optional_bytes()?.map(text).transpose()
    }

    pub(super) fn text(&mut self) -> Result<String, Error> {
        self.bytes().and_then(text)
    }

    /// Returns the next part, which is a number, as such or as a text.
    pub(super) fn number<T: FromStr>(&mut self) -> Result<T, Error> {
        match self.value()? {
            Value::Int(number) => parse(&number.to_string()),
            Value::BulkString(bytes) => parse(&text(bytes)?),
            other => Err(malformed(&other)),
        }
    }
}

impl Iterator for Reply {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.0.next()
    }
}

pub(super) fn parse<T: FromStr>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::Unavailable(format!("Redis has {text:?} instead of a number")))
}

pub(super) fn text(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|error| Error::Unavailable(format!("data in Redis: {error}")))
}

fn malformed(value: &Value) -> Error {
    Error::Unavailable(format!("an unexpected reply of Redis: {value:?}"))
}
