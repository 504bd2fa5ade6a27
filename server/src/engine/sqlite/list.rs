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
use crate::change::Attributes;

/// Where an index leaves no more than so many, they are looked at one and all rather than in the order
/// of another until there are enough.
const FEW: u32 = 1_000;

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
