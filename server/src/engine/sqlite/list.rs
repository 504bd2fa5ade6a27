//! Reading a list in the way that looks at the fewest records.
//!
//! SQLite passes over what it can tell is not among them; it is the criteria that decide, so they mean the
//! same everywhere.

use std::sync::Arc;

use rusqlite::{Result, Row, Transaction, params_from_iter};

use super::along::Along;
use super::prefilter::{Clause, Prefilter};
use super::sketch::Sketch;
use super::{reader, row};
use crate::change::{Attributes, Id};
use crate::engine::cascades::ResourceCascades;

/// Where an index leaves no more than so many, they are looked at one and all rather than in the order
/// of another until there are enough.
const FEW: u32 = 1_000;

/// The records that the criteria pick, without dangling references.
pub(super) fn resolved(
    snapshot: &Transaction<'_>,
    prefilter: Prefilter<'_>,
    cascades: &ResourceCascades,
) -> Result<Vec<Arc<Attributes>>> {
    if cascades.is_empty() {
        return read(snapshot, prefilter);
    }
    if cascades.has_one_of(prefilter.criteria.names().into_iter()) {
        return resolve_all(snapshot, prefilter, cascades);
    }
    let records = read(snapshot, prefilter)?;
    let resolve = |record| resolve_one(snapshot, prefilter, cascades, record);
    records.into_iter().map(resolve).collect()
}

/// A record that was selected by what does not dangle.
fn resolve_one(
    snapshot: &Transaction<'_>,
    prefilter: Prefilter<'_>,
    cascades: &ResourceCascades,
    record: Arc<Attributes>,
) -> Result<Arc<Attributes>> {
    let id = record.get(&*prefilter.criteria.key).and_then(Id::from_json);
    let Some(id) = id.filter(|_| cascades.is_suspect(&record)) else { return Ok(record) };
    let changed = super::cascades::changed(snapshot, prefilter.resource, &id)?;
    Ok(cascades.resolve(Arc::clone(&record), changed).unwrap_or(record))
}

/// The same, if the criteria look at attributes that may dangle. Records whose references dangle are looked at,
/// too, if they are meant with null in their place.
fn resolve_all(
    snapshot: &Transaction<'_>,
    prefilter: Prefilter<'_>,
    cascades: &ResourceCascades,
) -> Result<Vec<Arc<Attributes>>> {
    let Clause { sql, values, .. } = prefilter.all_or_dangling(cascades);
    let sql = format!(
        "SELECT json, coalesce(changed, offset) AS changed FROM records WHERE {sql} ORDER BY id"
    );
    reader::prepared(snapshot, &sql, |statement| {
        let record = |row: &Row<'_>| -> Result<Option<Arc<Attributes>>> {
            let row::Json(record) = row.get("json")?;
            Ok(cascades.resolve(record, row::unsigned(row, "changed")?))
        };
        let records = statement.query_and_then(params_from_iter(values), record)?;
        prefilter.criteria.pick(records.filter_map(Result::transpose))
    })
}

/// The records that the criteria pick.
pub(super) fn read(
    snapshot: &Transaction<'_>,
    prefilter: Prefilter<'_>,
) -> Result<Vec<Arc<Attributes>>> {
    let Some(along) = Along::of(prefilter) else {
        return all(snapshot, prefilter, None);
    };
    for (index, clause) in prefilter.indexed() {
        if !along.is_bounded(&index) && are_few(snapshot, &index, &clause)? {
            return all(snapshot, prefilter, Some(index));
        }
    }
    Ok(prefilter.criteria.cut(along.read(snapshot)?))
}

/// Looks at all that may be meant. Where only the first in some order are wanted, no more is read of each
/// than it takes to choose.
fn all(
    snapshot: &Transaction<'_>,
    prefilter: Prefilter<'_>,
    index: Option<String>,
) -> Result<Vec<Arc<Attributes>>> {
    let criteria = prefilter.criteria;
    let Clause { sql, values, .. } = prefilter.all();
    let by = index.map(|index| format!("INDEXED BY \"{index}\"")).unwrap_or_default();
    let sql = format!("SELECT json FROM records {by} WHERE {sql} ORDER BY id");
    reader::prepared(snapshot, &sql, |statement| {
        let values = params_from_iter(values);
        if criteria.reach().is_none() || criteria.sort.is_by_id() {
            let record = |row: &Row<'_>| row.get("json").map(|row::Json(record)| record);
            return criteria.pick(statement.query_and_then(values, record)?);
        }
        let names = criteria.names();
        let sketch = |row: &Row<'_>| Sketch::read(row.get_ref("json")?, &names);
        let chosen = criteria.choose(statement.query_and_then(values, sketch)?)?;
        let records = chosen.iter().map(|sketch| sketch.record().map(Arc::new));
        Ok(criteria.show(records.collect::<Result<Vec<_>>>()?))
    })
}

fn are_few(snapshot: &Transaction<'_>, index: &str, clause: &Clause) -> Result<bool> {
    let Clause { sql, values, .. } = clause;
    let limit = FEW + 1;
    let sql = format!(
        "SELECT count(*) FROM
         (SELECT 1 FROM records INDEXED BY \"{index}\" WHERE {sql} LIMIT {limit})"
    );
    reader::prepared(snapshot, &sql, |statement| {
        let count: u32 = statement.query_row(params_from_iter(values), |row| row.get(0))?;
        Ok(count <= FEW)
    })
}
