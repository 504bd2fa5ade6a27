//! Which records are meant.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::condition::{Condition, Operand};
use super::{Case, Look};
use crate::change::Id;

/// Something a record fulfils or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    /// All of these; where there are none, nothing is asked.
    All(Vec<Filter>),
    /// One of these at least; where there are none, no record does.
    Any(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// This attribute is so.
    Attribute(String, Condition),
}

impl Default for Filter {
    /// Every record.
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl Filter {
    /// An attribute holds this id, as a number or as a string.
    pub fn refers(name: &str, id: &Id) -> Self {
        let operands = match id {
            #[expect(clippy::cast_precision_loss, reason = "larger ids are none")]
            Id::Integer(number) => {
                vec![Operand::Number(*number as f64), Operand::Text(id.to_string())]
            }
            Id::Text(text) => vec![Operand::Text(text.to_string())],
        };
        Self::Attribute(name.to_owned(), Condition::OneOf(operands))
    }

    /// Both of them.
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

    /// Whether it says, among other things, this. It is not asked what follows from what: `false` only
    /// means that it does not say so in these words.
    pub fn demands(&self, part: &Self) -> bool {
        let has = |part: &Self| match self {
            Self::All(own) => own.iter().any(|own| own.demands(part)),
            _ => false,
        };
        match part {
            _ if self == part => true,
            Self::All(parts) => parts.iter().all(|part| self.demands(part)),
            part => has(part),
        }
    }

    /// Does this record fulfil it?
    pub fn matches(&self, record: &impl Look, case: Case) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(record, case)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(record, case)),
            Self::Not(part) => !part.matches(record, case),
            Self::Attribute(name, condition) => condition.holds(record.look(name), case),
        }
    }

    /// The same, of what attributes are compared with as it is among the values they have.
    pub fn brought(self, bring: &impl Fn(&str, Value) -> Option<Value>) -> Self {
        let each = |parts: Vec<Self>| parts.into_iter().map(|part| part.brought(bring)).collect();
        match self {
            Self::All(parts) => Self::All(each(parts)),
            Self::Any(parts) => Self::Any(each(parts)),
            Self::Not(part) => Self::Not(Box::new(part.brought(bring))),
            Self::Attribute(name, condition) => {
                let condition = condition.brought(&|value| bring(&name, value));
                Self::Attribute(name, condition)
            }
        }
    }

    /// How many comparisons it has.
    pub fn size(&self) -> usize {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().map(Self::size).sum::<usize>().max(1)
            }
            Self::Not(part) => part.size(),
            Self::Attribute(_, condition) => condition.size(),
        }
    }

    /// How many times it searches a text for a pattern.
    pub fn searches(&self) -> usize {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::searches).sum(),
            Self::Not(part) => part.searches(),
            Self::Attribute(_, condition) => usize::from(condition.is_search()),
        }
    }

    /// The attributes it is about.
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
    use serde_json::json;

    use super::*;
    use crate::change::Attributes;

    fn filter(fulfil: Value) -> Filter {
        Filter::read(fulfil).unwrap()
    }

    #[test]
    fn one_of_two_filters_is_demanded_by_both_together() {
        let (a, b) = (filter(json!({ "a": 1 })), filter(json!({ "b": 1, "c": 2 })));
        for both in [a.clone().and(b.clone()), b.clone().and(a.clone())] {
            assert!(both.demands(&a) && both.demands(&b) && both.demands(&Filter::default()));
            assert!(!a.demands(&both));
        }
        assert!(!Filter::Any(vec![a.clone(), b]).demands(&a));
        assert!(!Filter::Not(Box::new(a.clone())).demands(&a));
        assert_eq!(a.clone().and(Filter::default()), a);
    }

    #[test]
    fn an_id_is_referred_to_by_number_or_text_and_no_other_way() {
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
