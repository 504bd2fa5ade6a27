//! The indexes that the declared models need.

use std::collections::BTreeMap;

use backwire_records::change::Resource;
use backwire_records::model::Models;
use rusqlite::Connection;

use super::expression;

/// The prefix of their names.
const DECLARED: &str = "declared ";

/// The statements that create the indexes, by name.
#[derive(Debug, Default)]
pub(super) struct Indexes(BTreeMap<String, String>);

impl Indexes {
    /// Returns an index for each attribute that records are looked up by.
    pub(super) fn of(models: &Models) -> Self {
        let attributes = models
            .stored()
            .flat_map(|(resource, model)| model.indexed().map(move |name| (resource, name)));
        let statement = |(resource, attribute): (&Resource, &str)| {
            let (all, column) = (expression::resource(resource), expression::of(attribute)?);
            let name = name(resource, attribute);
            // The index has the id, so that equal values are in the order of their ids.
            let statement =
                format!("CREATE INDEX \"{name}\" ON records ({column}, id) WHERE {all}");
            Some((name, statement))
        };
        Self(attributes.filter_map(statement).collect())
    }

    /// Returns the name of the index of an attribute, if there is one.
    pub(super) fn on(&self, resource: &Resource, attribute: &str) -> Option<String> {
        let name = name(resource, attribute);
        self.0.contains_key(&name).then_some(name)
    }

    /// Creates the missing indexes, and drops those that are no longer needed or have another
    /// definition.
    pub(super) fn make(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut query =
            connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'index'")?;
        let present = query.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut present: BTreeMap<String, Option<String>> = present.collect::<Result<_, _>>()?;
        present.retain(|name, _| name.starts_with(DECLARED));
        for (name, made) in &present {
            if self.0.get(name) != made.as_ref() {
                connection.execute(&format!("DROP INDEX \"{name}\""), ())?;
            }
        }
        for (name, statement) in &self.0 {
            if present.get(name).and_then(Option::as_ref) != Some(statement) {
                connection.execute(statement, ())?;
            }
        }
        Ok(())
    }
}

/// Returns the name of an index. SQLite compares names of indexes without case, but attributes
/// differ in case, so upper case letters are marked.
fn name(resource: &Resource, attribute: &str) -> String {
    let spelled = attribute
        .chars()
        .flat_map(|letter| letter.is_ascii_uppercase().then_some('^').into_iter().chain([letter]));
    format!("{DECLARED}{resource} {}", String::from_iter(spelled))
}
