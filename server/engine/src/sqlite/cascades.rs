//! Cascades in the file: one row for each destroyed id and each attribute that may hold it.

use backwire_records::change::{Id, Resource};
use backwire_records::dangling::Reference;
use rusqlite::types::Value;
use rusqlite::{Connection, Result, Row, params_from_iter};

use super::expression;
use super::row;
use crate::cascades::{AllCascades, Cascade, ResourceCascades};
use crate::sqlite::row::{Column, get};

/// The cascades. The order of their rowids is the order of the destroys.
pub(super) const TABLE: &str = "
    -- until: the head of the holder's log at the destroy. Records that changed later do not count.
    CREATE TABLE cascades (
        holder TEXT NOT NULL,
        attribute TEXT NOT NULL,
        id NOT NULL,
        until INTEGER NOT NULL,
        is_pair INTEGER NOT NULL,
        origin TEXT,
        PRIMARY KEY (holder, attribute, id)
    );
";

/// Adds the table, and the offset of the last change of each record that has only publications
/// after it.
pub(super) const UPGRADE: &str = "
    ALTER TABLE records ADD COLUMN changed INTEGER;
    CREATE TABLE cascades (
        holder TEXT NOT NULL,
        attribute TEXT NOT NULL,
        id NOT NULL,
        until INTEGER NOT NULL,
        is_pair INTEGER NOT NULL,
        origin TEXT,
        PRIMARY KEY (holder, attribute, id)
    );
";

/// Returns all cascades, beginning with the oldest.
pub(super) fn unfinished(connection: &Connection) -> Result<Vec<Cascade>> {
    connection
        .prepare_cached("SELECT * FROM cascades ORDER BY rowid")?
        .query_map((), read)?
        .collect()
}

/// Returns all cascades for lookups.
pub(super) fn all(connection: &Connection) -> Result<AllCascades> {
    let mut all = AllCascades::default();
    unfinished(connection)?.iter().for_each(|cascade| all.insert(cascade));
    Ok(all)
}

/// Returns the cascades that concern the records of a resource.
pub(super) fn of(connection: &Connection, holder: &Resource) -> Result<ResourceCascades> {
    let mut cascades = ResourceCascades::default();
    let mut statement = connection
        .prepare_cached("SELECT attribute, id, until, is_pair FROM cascades WHERE holder = ?1")?;
    let mut rows = statement.query([Column(holder)])?;
    while let Some(row) = rows.next()? {
        let until = row::unsigned(row, "until")?;
        cascades.insert(row.get("attribute")?, row.get("is_pair")?, get(row, "id")?, until);
    }
    Ok(cascades)
}

/// Adds a cascade, or extends the cascade of an earlier destroy.
pub(super) fn insert(connection: &Connection, cascade: &Cascade) -> Result<()> {
    let Cascade { reference, id, until, origin } = cascade;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO cascades (holder, attribute, id, until, is_pair, origin)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((
            &Column(&reference.resource),
            &reference.attribute,
            Column(id),
            until.cast_signed(),
            reference.is_pair,
            origin,
        ))?;
    Ok(())
}

/// Removes a cascade. Returns whether it existed.
pub(super) fn remove(connection: &Connection, cascade: &Cascade) -> Result<bool> {
    let Cascade { reference, id, until, .. } = cascade;
    let removed = connection
        .prepare_cached(
            "DELETE FROM cascades WHERE holder = ?1 AND attribute = ?2 AND id = ?3 AND until = ?4",
        )?
        .execute((
            &Column(&reference.resource),
            &reference.attribute,
            Column(id),
            until.cast_signed(),
        ))?;
    Ok(removed > 0)
}

/// Whether a record may have such a reference.
pub(super) fn has_references(
    connection: &Connection,
    reference: &Reference,
    id: &Id,
) -> Result<bool> {
    let Some(attribute) = expression::of(&reference.attribute) else { return Ok(true) };
    let resource = expression::resource(&reference.resource);
    let forms = forms(id);
    let marks = vec!["?"; forms.len()].join(",");
    let sql =
        format!("SELECT 1 FROM records WHERE {resource} AND {attribute} IN ({marks}) LIMIT 1");
    let values = forms.into_iter().map(|(value, _)| value);
    connection.prepare_cached(&sql)?.exists(params_from_iter(values))
}

/// Returns the ids of records whose reference dangles. Each form of the id is a range of the
/// attribute's index, in the order of the ids of the records.
pub(super) fn dangling(
    connection: &Connection,
    cascade: &Cascade,
    after: Option<&Id>,
    limit: usize,
) -> Result<Vec<Id>> {
    let Cascade { reference, id, until, .. } = cascade;
    let (name, resource) = (&reference.attribute, expression::resource(&reference.resource));
    let Some(attribute) = expression::of(name) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for (value, kind) in forms(id) {
        let sql = format!(
            "SELECT id FROM records WHERE {resource} AND {attribute} = ?1 AND id > ?2
             AND coalesce(changed, offset) <= ?3 AND json_type(json, '$.\"{name}\"') = '{kind}'
             ORDER BY id LIMIT ?4"
        );
        // Integers are before texts.
        let after = after.cloned().unwrap_or(Id::Integer(i64::MIN));
        let mut statement = connection.prepare_cached(&sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let ids = statement
            .query_map((value, Column(&after), until.cast_signed(), limit), |row| get(row, 0))?;
        all.extend(ids.collect::<Result<Vec<Id>>>()?);
    }
    all.sort();
    all.truncate(limit);
    Ok(all)
}

/// Returns the forms in which an attribute may hold an id: the value in SQL and its type in JSON.
fn forms(id: &Id) -> Vec<(Value, &'static str)> {
    let text = (Value::from(id.to_string()), "text");
    match id {
        Id::Integer(integer) => vec![(Value::from(*integer), "integer"), text],
        Id::Text(_) => vec![text],
    }
}

fn read(row: &Row<'_>) -> Result<Cascade> {
    let reference = Reference {
        resource: get(row, "holder")?,
        attribute: row.get("attribute")?,
        is_pair: row.get("is_pair")?,
    };
    let (until, origin) = (row::unsigned(row, "until")?, row.get("origin")?);
    Ok(Cascade { reference, id: get(row, "id")?, until, origin })
}
