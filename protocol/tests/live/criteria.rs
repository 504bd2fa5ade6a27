//! The queries that a read may contain, and their results.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub type Record = Map<String, Value>;
pub type State = BTreeMap<u64, Record>;

/// The query of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Criteria {
    One(u64),
    List { a: Option<u64>, is_sorted: bool, window: Option<(usize, usize)> },
}

impl Criteria {
    /// Returns the url, which also identifies the query.
    pub fn url(&self) -> String {
        match self {
            Self::One(id) => format!("/todo/{id}"),
            Self::List { a, is_sorted, window } => {
                let a = a.map(|a| format!("&a={a}")).unwrap_or_default();
                let sort = if *is_sorted { "&sort=b" } else { "" };
                let window = window.map(|(skip, limit)| format!("&skip={skip}&limit={limit}"));
                format!("/todo?{a}{sort}{}", window.unwrap_or_default())
            }
        }
    }

    pub fn parse(url: &str) -> Self {
        if let Some(id) = url.strip_prefix("/todo/") {
            return Self::One(id.parse().expect("an id"));
        }
        let number = |name: &str| {
            let value = url.split(['?', '&']).find_map(|field| field.strip_prefix(name))?;
            value.parse::<u64>().ok()
        };
        let window = number("skip=").zip(number("limit="));
        Self::List {
            a: number("a="),
            is_sorted: url.contains("sort=b"),
            window: window.map(|(skip, limit)| (skip as usize, limit as usize)),
        }
    }

    pub fn room(&self) -> String {
        match self {
            Self::One(id) => format!("todo/{id}"),
            Self::List { a: None, window: None, .. } => "todo".into(),
            Self::List { a: Some(a), window: None, .. } => format!("todo?{a}"),
            Self::List { .. } => format!("todo?[{}]", self.url()),
        }
    }

    pub fn description(&self) -> String {
        let Self::List { a, is_sorted, .. } = self else { return "one".into() };
        let list = if a.is_some() { "filter" } else { "whole" };
        let kind = if self.is_part() { "part" } else { list };
        format!("{kind}{}", if *is_sorted { ";sort=b" } else { "" })
    }

    pub fn is_part(&self) -> bool {
        matches!(self, Self::List { window: Some(_), .. })
    }

    pub fn is_ordered(&self) -> bool {
        matches!(self, Self::List { is_sorted, .. } if *is_sorted || self.is_part())
    }

    pub fn selects(&self, id: u64, record: &Record) -> bool {
        match self {
            Self::One(one) => *one == id,
            Self::List { a, .. } => a.is_none_or(|a| record["a"] == a),
        }
    }

    pub fn evaluate(&self, state: &State) -> Vec<String> {
        let mut found: Vec<_> =
            state.iter().filter(|(id, record)| self.selects(**id, record)).collect();
        if let Self::List { is_sorted: true, .. } = self {
            found.sort_by_key(|(id, record)| (record["b"].as_u64(), **id));
        }
        let ids = found.into_iter().map(|(id, _)| id.to_string());
        match self {
            Self::List { window: Some((skip, limit)), .. } => {
                ids.skip(*skip).take(*limit).collect()
            }
            _ => ids.collect(),
        }
    }
}
