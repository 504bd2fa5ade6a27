//! A model as a configuration file has it, where each setting may be missing.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Attribute, Find, Ids, Model, Populate, RequestLimits, Timestamps, Unknown, attribute};
use crate::access::Access;

/// The settings of a model that a file sets.
///
/// ```
/// use backwire_records::model::{Model, ModelSettings, Timestamps};
///
/// let defaults = Model { timestamps: Timestamps::Off, key: "_id".to_owned(), ..Model::default() };
/// let todo: ModelSettings = serde_json::from_str(r#"{"timestamps": "iso"}"#)?;
/// let todo = todo.or(defaults);
/// assert_eq!((todo.timestamps, &*todo.key), (Timestamps::Iso, "_id"));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    key: Option<String>,
    ids: Option<Ids>,
    #[serde(deserialize_with = "attribute::by_name")]
    attributes: BTreeMap<String, Attribute>,
    schema: Option<bool>,
    unknown: Option<Unknown>,
    timestamps: Option<Timestamps>,
    upsert: Option<bool>,
    plural: Option<String>,
    find: Find,
    most: RequestLimits,
    access: Option<Access>,
    reveals: Option<bool>,
}

impl ModelSettings {
    /// Returns a model with these settings, and with those of the defaults that are not set.
    /// Attributes, and the settings in `find` and `most`, are taken one by one; access rules as a
    /// whole.
    pub fn or(self, defaults: Model) -> Model {
        let populate = match self.find.populate {
            Populate::Conventional => defaults.find.populate,
            own => own,
        };
        Model {
            key: self.key.unwrap_or(defaults.key),
            ids: self.ids.unwrap_or(defaults.ids),
            attributes: defaults.attributes.into_iter().chain(self.attributes).collect(),
            schema: self.schema.or(defaults.schema),
            unknown: self.unknown.unwrap_or(defaults.unknown),
            timestamps: self.timestamps.unwrap_or(defaults.timestamps),
            upsert: self.upsert.unwrap_or(defaults.upsert),
            plural: self.plural.or(defaults.plural),
            find: Find {
                limit: self.find.limit.or(defaults.find.limit),
                filter: self.find.filter.or(defaults.find.filter),
                populate,
            },
            most: RequestLimits {
                records: self.most.records.or(defaults.most.records),
                body: self.most.body.or(defaults.most.body),
            },
            access: self.access.unwrap_or(defaults.access),
            reveals: self.reveals.unwrap_or(defaults.reveals),
            conventions: defaults.conventions,
        }
    }
}

impl From<ModelSettings> for Model {
    fn from(settings: ModelSettings) -> Self {
        settings.or(Self::default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn merged(own: Value, defaults: Value) -> Model {
        let own: ModelSettings = serde_json::from_value(own).unwrap();
        own.or(serde_json::from_value(defaults).unwrap())
    }

    #[test]
    fn own_settings_replace_defaults_also_if_they_are_the_initial_value() {
        let defaults = json!({
            "key": "_id", "ids": "uuid", "unknown": "drop", "upsert": true, "timestamps": "iso",
            "find": { "limit": 30, "populate": true }, "most": { "records": 5, "body": 6 },
            "access": { "read": "signedIn" }, "attributes": { "a": "string", "b": "string" },
            "schema": true, "reveals": true,
        });
        let model = serde_json::from_value::<Model>(defaults.clone()).unwrap();
        assert_eq!(merged(json!({}), defaults.clone()), model);
        let own = json!({
            "key": "id", "ids": "any", "unknown": "keep", "upsert": false, "timestamps": "ms",
            "find": { "populate": false }, "most": { "body": 7 }, "access": {},
            "attributes": { "b": "number" }, "schema": false, "reveals": false,
        });
        let model: Model = serde_json::from_value(json!({
            "key": "id", "ids": "any", "unknown": "keep", "upsert": false, "timestamps": "ms",
            "find": { "limit": 30, "populate": false }, "most": { "records": 5, "body": 7 },
            "access": {}, "attributes": { "a": "string", "b": "number" },
            "schema": false, "reveals": false,
        }))
        .unwrap();
        assert_eq!(merged(own, defaults), model);
    }
}
