//! Conversion of the values that handlers have into ids.

use std::sync::Arc;

use serde_json::Value;

use super::{Attributes, Id};

/// A value that may be an id: an integer, a string, or a record that has one.
pub trait ToId {
    /// Returns the id, or `None` if this is not an id.
    fn to_id(&self) -> Option<Id>;
}

impl<T: ToId + ?Sized> ToId for &T {
    fn to_id(&self) -> Option<Id> {
        (**self).to_id()
    }
}

impl<T: ToId + ?Sized> ToId for Arc<T> {
    fn to_id(&self) -> Option<Id> {
        (**self).to_id()
    }
}

impl ToId for Id {
    fn to_id(&self) -> Option<Id> {
        Some(self.clone())
    }
}

impl ToId for i64 {
    fn to_id(&self) -> Option<Id> {
        Some(Id::Integer(*self))
    }
}

impl ToId for i32 {
    fn to_id(&self) -> Option<Id> {
        i64::from(*self).to_id()
    }
}

impl ToId for u32 {
    fn to_id(&self) -> Option<Id> {
        i64::from(*self).to_id()
    }
}

impl ToId for u64 {
    fn to_id(&self) -> Option<Id> {
        i64::try_from(*self).ok()?.to_id()
    }
}

impl ToId for str {
    fn to_id(&self) -> Option<Id> {
        Id::parse(self)
    }
}

impl ToId for String {
    fn to_id(&self) -> Option<Id> {
        Id::parse(self)
    }
}

impl ToId for Attributes {
    fn to_id(&self) -> Option<Id> {
        Id::from_json(self.get("id")?)
    }
}

/// A record, or an id.
impl ToId for Value {
    fn to_id(&self) -> Option<Id> {
        match self {
            Value::Object(record) => record.to_id(),
            id => Id::from_json(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_texts_and_records_are_converted_to_ids() {
        let seven = Some(Id::Integer(7));
        assert_eq!(
            [7_i64.to_id(), 7_i32.to_id(), 7_u32.to_id(), 7_u64.to_id()].as_slice(),
            [const { Some(Id::Integer(7)) }; 4]
        );
        assert_eq!(
            ("7".to_id(), "7".to_owned().to_id(), json!("7").to_id()),
            (seven.clone(), seven.clone(), seven.clone())
        );
        let record = Arc::new(json!({ "id": 7, "name": "Ann" }).as_object().unwrap().clone());
        assert_eq!((record.to_id(), json!({ "id": "7" }).to_id()), (seven.clone(), seven));
        assert_eq!("eggs".to_id(), Some(Id::Text("eggs".into())));
        assert_eq!(
            (u64::MAX.to_id(), "".to_id(), json!({}).to_id(), json!([7]).to_id()),
            (None, None, None, None)
        );
    }
}
