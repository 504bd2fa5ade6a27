//! Which associations a read fills in.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::criteria::{Bad, Parameters, Problem, shown};
use crate::nearest::hint;

const AT: &str = "populate";

/// Associations whose records come with the record, in place of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Populate {
    /// Each that is declared, as Sails 1.x does.
    All,
    /// These.
    These(BTreeSet<String>),
}

impl Default for Populate {
    /// None.
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Populate {
    /// Takes `pets,owner`, in brackets or not, a list of names, true or false from what a request brought, if it says anything.
    /// `known` are the associations of the model.
    pub fn take<'k>(
        parameters: &mut Parameters,
        known: impl Iterator<Item = &'k str> + Clone,
    ) -> Result<Option<Self>, Bad> {
        let names: Vec<String> = match parameters.take(AT) {
            None => return Ok(None),
            Some(Value::Bool(true)) => return Ok(Some(Self::All)),
            Some(Value::Bool(false)) => return Ok(Some(Self::default())),
            Some(Value::String(text)) if text == "true" => return Ok(Some(Self::All)),
            Some(Value::String(text)) if text == "false" => return Ok(Some(Self::default())),
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
                names.collect::<Option<_>>().ok_or_else(odd)?
            }
            Some(_) => return Err(odd()),
        };
        let is_known = |name: &String| known.clone().any(|known| known == name);
        if let Some(name) = names.iter().find(|name| !is_known(name)) {
            let hint = hint(name, known);
            return Err(Bad::new(AT, Problem::NoAssociation(shown(name), hint)));
        }
        Ok(Some(Self::These(BTreeSet::from_iter(names))))
    }

    /// Those that are named.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let names = match self {
            Self::All => None,
            Self::These(names) => Some(names),
        };
        names.into_iter().flatten()
    }

    /// Whether this association is among them.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }
}

/// `true`, `false` or a list.
impl<'de> Deserialize<'de> for Populate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "true, false or a list of associations")]
        enum Said {
            All(bool),
            These(BTreeSet<String>),
        }
        Ok(match Said::deserialize(deserializer)? {
            Said::All(true) => Self::All,
            Said::All(false) => Self::default(),
            Said::These(names) => Self::These(names),
        })
    }
}

fn odd() -> Bad {
    Bad::new(AT, Problem::Expected("true, false or names, in a list or with commas between"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Attribute, Model};

    fn read(said: Value) -> Result<Option<Populate>, String> {
        let model = Model::default()
            .attribute("pets", Attribute::collection("pet", "owner"))
            .attribute("boss", Attribute::model("user"))
            .attribute("name", Attribute::default());
        let data = serde_json::from_value(json!({ "populate": said })).unwrap();
        let mut parameters = Parameters::read(Vec::new(), data).unwrap();
        Populate::take(&mut parameters, model.associations()).map_err(|bad| bad.to_string())
    }

    fn these(names: &[&str]) -> Result<Option<Populate>, String> {
        Ok(Some(Populate::These(names.iter().map(|name| (*name).to_owned()).collect())))
    }

    #[test]
    fn associations_are_named_in_every_spelling() {
        assert_eq!(read(json!("pets, boss")), these(&["boss", "pets"]));
        assert_eq!(read(json!("[pets, boss]")), these(&["boss", "pets"]));
        assert_eq!(read(json!(["pets"])), these(&["pets"]));
        assert_eq!(read(json!("true")), Ok(Some(Populate::All)));
        for none in [json!(false), json!("false"), json!([]), json!("[]")] {
            assert_eq!(read(none), these(&[]));
        }
    }

    #[test]
    fn what_is_no_association_is_refused_with_the_nearest() {
        assert_eq!(
            read(json!("pest")),
            Err("populate: there is no association pest; did you mean pets?".to_owned())
        );
        assert!(read(json!("name")).is_err());
        assert!(read(json!(7)).is_err());
    }
}
