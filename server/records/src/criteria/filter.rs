//! Filters, which select records.

use serde::{Deserialize, Serialize};

use super::condition::{Condition, Operand, OperandType};
use super::error::CriteriaError;
use super::{Case, HasAttributes};
use crate::change::Id;

/// A condition that a record fulfils or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    /// All of these. If the list is empty, every record fulfils it.
    All(Vec<Filter>),
    /// At least one of these. If the list is empty, no record fulfils it.
    Any(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// The value of an attribute fulfils a condition.
    Attribute(String, Condition),
}

impl Default for Filter {
    /// Returns a filter that every record fulfils.
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl Filter {
    /// Returns a filter for records that hold this id in an attribute, as a number or as a string.
    pub fn refers(name: &str, id: &Id) -> Self {
        let operands = match id {
            #[expect(clippy::cast_precision_loss, reason = "ids are exact as doubles")]
            Id::Integer(number) => {
                vec![Operand::Number(*number as f64), Operand::Text(id.to_string())]
            }
            Id::Text(text) => vec![Operand::Text(text.to_string())],
        };
        Self::Attribute(name.to_owned(), Condition::OneOf(operands))
    }

    /// Returns a hash of the filter, the same on all servers. Equal filters have equal hashes.
    pub fn mark(&self) -> u64 {
        let text = serde_json::to_string(self).expect("it is made of strings and finite numbers");
        backwire_protocol::mark(&text)
    }

    /// Returns a filter that demands both.
    pub fn and(self, other: Self) -> Self {
        let everything = Self::default();
        match (self, other) {
            (own, other) if other == everything => own,
            (own, other) if own == everything => other,
            (Self::All(mut own), Self::All(other)) => {
                own.extend(other);
                Self::All(own)
            }
            (Self::All(mut own), other) => {
                own.push(other);
                Self::All(own)
            }
            (own, other) => Self::All(vec![own]).and(other),
        }
    }

    /// Whether this filter contains `part` as one of its demands. Only equal terms count: `false`
    /// does not mean that `part` does not follow.
    pub fn implies(&self, part: &Self) -> bool {
        let has = |part: &Self| match self {
            Self::All(own) => own.iter().any(|own| own.implies(part)),
            _ => false,
        };
        match part {
            _ if self == part => true,
            Self::All(parts) => parts.iter().all(|part| self.implies(part)),
            part => has(part),
        }
    }

    /// Whether a record fulfils the filter.
    pub fn matches(&self, record: &impl HasAttributes, case: Case) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(record, case)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(record, case)),
            Self::Not(part) => !part.matches(record, case),
            Self::Attribute(name, condition) => condition.holds(record.attribute(name), case),
        }
    }

    /// Coerces the operands to the types of their attributes, as far as they have one.
    pub fn coerced<T: OperandType>(
        self,
        type_of: &impl Fn(&str) -> Option<T>,
    ) -> Result<Self, CriteriaError> {
        let each = |parts: Vec<Self>| {
            parts.into_iter().map(|part| part.coerced(type_of)).collect::<Result<_, _>>()
        };
        Ok(match self {
            Self::All(parts) => Self::All(each(parts)?),
            Self::Any(parts) => Self::Any(each(parts)?),
            Self::Not(part) => Self::Not(Box::new(part.coerced(type_of)?)),
            Self::Attribute(name, condition) => match type_of(&name) {
                None => Self::Attribute(name, condition),
                Some(to) => match condition.coerced(&to) {
                    Ok(condition) => Self::Attribute(name, condition),
                    Err(problem) => return Err(CriteriaError::new(&name, problem)),
                },
            },
        })
    }

    /// Returns the number of comparisons.
    pub fn size(&self) -> usize {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().map(Self::size).sum::<usize>().max(1)
            }
            Self::Not(part) => part.size(),
            Self::Attribute(_, condition) => condition.size(),
        }
    }

    /// Returns how many times the filter searches a text for a pattern.
    pub fn searches(&self) -> usize {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::searches).sum(),
            Self::Not(part) => part.searches(),
            Self::Attribute(_, condition) => usize::from(condition.is_search()),
        }
    }

    /// Returns the attributes that the filter reads.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::names).collect(),
            Self::Not(part) => part.names(),
            Self::Attribute(name, _) => vec![name],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::change::Attributes;

    fn filter(fulfil: Value) -> Filter {
        Filter::read(fulfil).unwrap()
    }

    #[test]
    fn conjunction_implies_each_of_its_filters() {
        let (a, b) = (filter(json!({ "a": 1 })), filter(json!({ "b": 1, "c": 2 })));
        for both in [a.clone().and(b.clone()), b.clone().and(a.clone())] {
            assert!(both.implies(&a) && both.implies(&b) && both.implies(&Filter::default()));
            assert!(!a.implies(&both));
        }
        assert!(!Filter::Any(vec![a.clone(), b]).implies(&a));
        assert!(!Filter::Not(Box::new(a.clone())).implies(&a));
        assert_eq!(a.clone().and(Filter::default()), a);
    }

    #[test]
    fn reference_to_an_id_is_its_number_or_its_text() {
        let matches = |id: Id, value: Value| {
            let record = Attributes::from_iter([("owner".to_owned(), value)]);
            Filter::refers("owner", &id).matches(&record, Case::Sensitive)
        };
        assert!(matches(Id::Integer(7), json!(7)));
        assert!(matches(Id::Integer(7), json!("7")));
        assert!(!matches(Id::Integer(7), json!("07")));
        assert!(!matches(Id::Integer(7), json!(null)));
        assert!(matches(Id::Text("ann".into()), json!("ann")));
        assert!(!matches(Id::Text("1e1".into()), json!(10)));
        assert!(!matches(Id::Text("true".into()), json!(true)));
    }
}
