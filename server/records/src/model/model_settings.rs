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
/// let all: ModelSettings = serde_json::from_str(r#"{"timestamps": "off", "key": "_id"}"#)?;
/// let todo: ModelSettings = serde_json::from_str(r#"{"timestamps": "iso"}"#)?;
/// let todo = Model::from(todo.or(&all));
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
    /// Returns these settings, with those of the defaults that are not set. Attributes, and the
    /// settings in `find` and `most`, are taken one by one; access rules as a whole.
    pub fn or(self, defaults: &Self) -> Self {
        let Self {
            key,
            ids,
            attributes,
            schema,
            unknown,
            timestamps,
            upsert,
            plural,
            find,
            most,
            access,
            reveals,
        } = defaults.clone();
        let populate = match self.find.populate {
            Populate::Conventional => find.populate,
            own => own,
        };
        Self {
            key: self.key.or(key),
            ids: self.ids.or(ids),
            attributes: attributes.into_iter().chain(self.attributes).collect(),
            schema: self.schema.or(schema),
            unknown: self.unknown.or(unknown),
            timestamps: self.timestamps.or(timestamps),
            upsert: self.upsert.or(upsert),
            plural: self.plural.or(plural),
            find: Find {
                limit: self.find.limit.or(find.limit),
                filter: self.find.filter.or(find.filter),
                populate,
            },
            most: RequestLimits {
                records: self.most.records.or(most.records),
                body: self.most.body.or(most.body),
            },
            access: self.access.or(access),
            reveals: self.reveals.or(reveals),
        }
    }
}

impl From<ModelSettings> for Model {
    fn from(set: ModelSettings) -> Self {
        let unset = Self::default();
        Self {
            key: set.key.unwrap_or(unset.key),
            ids: set.ids.unwrap_or(unset.ids),
            attributes: set.attributes,
            schema: set.schema,
            unknown: set.unknown.unwrap_or(unset.unknown),
            timestamps: set.timestamps.unwrap_or(unset.timestamps),
            upsert: set.upsert.unwrap_or(unset.upsert),
            plural: set.plural,
            find: set.find,
            most: set.most,
            access: set.access.unwrap_or(unset.access),
            reveals: set.reveals.unwrap_or(unset.reveals),
            conventions: unset.conventions,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn merged(own: Value, defaults: Value) -> Model {
        let [own, defaults] = [own, defaults]
            .map(|settings| serde_json::from_value::<ModelSettings>(settings).unwrap());
        own.or(&defaults).into()
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
