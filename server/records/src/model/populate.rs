//! The associations that a read fills in.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::criteria::{CriteriaError, Parameters, Problem, escaped_name};
use crate::nearest::hint;

const AT: &str = "populate";

/// The associations whose records an answer contains in place of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Populate {
    /// As the conventions have it: none, or all with those of Sails.
    #[default]
    Conventional,
    /// All declared associations, as Sails 1.x does.
    All,
    /// These associations.
    These(BTreeSet<String>),
}

impl Populate {
    /// Returns no associations.
    pub fn none() -> Self {
        Self::These(BTreeSet::new())
    }

    /// Takes `populate` out of the parameters of a request, and parses it: `pets,owner`, with or
    /// without brackets, a list of names, true or false. `known` are the associations of the model.
    pub fn take<'k>(
        parameters: &mut Parameters,
        known: impl Iterator<Item = &'k str> + Clone,
    ) -> Result<Option<Self>, CriteriaError> {
        let names: Vec<String> = match parameters.take(AT) {
            None => return Ok(None),
            // As in Sails.
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::Bool(true)) => return Ok(Some(Self::All)),
            Some(Value::Bool(false)) => return Ok(Some(Self::none())),
            Some(Value::String(text)) if text == "true" => return Ok(Some(Self::All)),
            Some(Value::String(text)) if text == "false" => return Ok(Some(Self::none())),
            Some(Value::String(text)) => {
                let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                let names = inside.unwrap_or(&text).split(',').map(str::trim);
                names
                    .filter(|name| inside.is_none() || !name.is_empty())
                    .map(str::to_owned)
                    .collect()
            }
            Some(Value::Array(list)) => {
                let names = list.iter().map(|name| name.as_str().map(str::to_owned));
                names.collect::<Option<_>>().ok_or_else(invalid)?
            }
            Some(_) => return Err(invalid()),
        };
        let is_known = |name: &String| known.clone().any(|known| known == name);
        if let Some(name) = names.iter().find(|name| !is_known(name)) {
            let hint = hint(name, known);
            return Err(CriteriaError::new(AT, Problem::NoAssociation(escaped_name(name), hint)));
        }
        Ok(Some(Self::These(BTreeSet::from_iter(names))))
    }

    /// Returns the associations that are listed.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let names = match self {
            Self::All | Self::Conventional => None,
            Self::These(names) => Some(names),
        };
        names.into_iter().flatten()
    }

    /// Whether an association is filled in.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Conventional => false,
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }
}

/// Accepts `true`, `false` or a list.
impl<'de> Deserialize<'de> for Populate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "true, false or a list of associations")]
        enum RawPopulate {
            All(bool),
            These(BTreeSet<String>),
        }
        Ok(match RawPopulate::deserialize(deserializer)? {
            RawPopulate::All(true) => Self::All,
            RawPopulate::All(false) => Self::none(),
            RawPopulate::These(names) => Self::These(names),
        })
    }
}

fn invalid() -> CriteriaError {
    CriteriaError::new(
        AT,
        Problem::Expected("true, false or names, in a list or with commas between"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Attribute, Model};

    fn read(populate: Value) -> Result<Option<Populate>, String> {
        let model = Model::default()
            .attribute("pets", Attribute::collection("pet", "owner"))
            .attribute("boss", Attribute::model("user"))
            .attribute("name", Attribute::default());
        let data = serde_json::from_value(json!({ "populate": populate })).unwrap();
        let mut parameters = Parameters::read(Vec::new(), data).unwrap();
        Populate::take(&mut parameters, model.associations()).map_err(|error| error.to_string())
    }

    fn these(names: &[&str]) -> Result<Option<Populate>, String> {
        Ok(Some(Populate::These(names.iter().map(|name| (*name).to_owned()).collect())))
    }

    #[test]
    fn each_spelling_of_populate_is_parsed() {
        assert_eq!(read(json!("pets, boss")), these(&["boss", "pets"]));
        assert_eq!(read(json!("[pets, boss]")), these(&["boss", "pets"]));
        assert_eq!(read(json!(["pets"])), these(&["pets"]));
        assert_eq!(read(json!("true")), Ok(Some(Populate::All)));
        for none in [json!(false), json!("false"), json!([]), json!("[]")] {
            assert_eq!(read(none), these(&[]));
        }
    }

    #[test]
    fn unknown_association_is_refused_with_the_nearest_name() {
        assert_eq!(
            read(json!("pest")),
            Err("populate: there is no association pest; did you mean pets?".to_owned())
        );
        assert!(read(json!("name")).is_err());
        assert!(read(json!(7)).is_err());
    }
}
