//! The checks after a power cut: the store is opened on what the cut has left, and has to be in a
//! state that the guarantees allow.

use std::collections::{BTreeMap, BTreeSet};

use backwire_engine::Engine;
use backwire_power_loss::{Disk, Image};
use backwire_records::change::Position;
use backwire_records::messages::flake::Flake;
use backwire_records::write::Action;
use rusqlite::Connection;
use serde_json::json;

use crate::history::{History, Recorded, Violation, is_clear};
use crate::model::Model;
use crate::observed::{Observed, index_difference};
use crate::operation::{NOON, Operation, RESOURCES, attributes, resource};
use crate::store::{Folder, Store};

/// Queries that count rows which contradict others.
const CONTRADICTIONS: [&str; 4] = [
    "SELECT count(*) FROM resources WHERE records <>
        (SELECT count(*) FROM records WHERE resource = name AND json IS NOT NULL)",
    "SELECT count(*) FROM resources WHERE head <>
        (SELECT ifnull(max(offset), floor) FROM log WHERE resource = name)",
    "SELECT count(*) FROM persons WHERE waiting <>
        (SELECT count(*) FROM inbox WHERE person = persons.id)",
    "SELECT count(*) FROM messages WHERE readers <>
        (SELECT count(*) FROM inbox WHERE inbox.id = messages.id)",
];

/// The data that has survived a cut.
pub(crate) struct Survived {
    pub(crate) model: Model,
    pub(crate) flakes: BTreeMap<u64, Flake>,
    /// The positions that were given before, see [`check_positions`].
    pub(crate) given: Vec<Given>,
}

/// The positions of a former start of the server.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    epoch: u64,
    /// The last offset of each resource that clients may have.
    last: BTreeMap<&'static str, u64>,
    /// The last offset that has survived all cuts since then.
    valid: BTreeMap<&'static str, u64>,
}

/// Opens the store on what a cut has left, and checks it. Returns `None` if there is no store: the
/// disk has failed while the file was created, and the file says so.
pub(crate) async fn check(
    folder: &Folder,
    history: &History,
    given: &[Given],
    calls: usize,
    image: Image,
) -> Result<Option<Survived>, Violation> {
    let disk = Disk::new(image);
    let mut store = match folder.open(&disk, history.window, history.flakes.clone()).await {
        Ok(store) => store,
        Err(error) if history.has_failed_to_create() && is_clear(&error) => return Ok(None),
        Err(error) => return Err(format!("cannot open: {error}")),
    };
    let checked = check_store(&mut store, history, given, calls).await;
    store.close(folder);
    checked.map(Some)
}

async fn check_store(
    store: &mut Store,
    history: &History,
    given: &[Given],
    calls: usize,
) -> Result<Survived, Violation> {
    // On a full disk, the log forgets early.
    let kept = if history.has_failures { 0 } else { history.window.count };
    let keys = history.keys_at(calls);
    let observed = Observed::read(store, &keys).await.map_err(|error| error.to_string())?;
    let model = explain(history, calls, |model| observed.difference(model, kept))?;
    check_file(&store.connect().map_err(|error| error.to_string())?)?;
    let difference = index_difference(store, &model).await.map_err(|error| error.to_string())?;
    difference.map_or(Ok(()), Err)?;
    let mut given = given.to_vec();
    for earlier in &mut given {
        for (name, valid) in &mut earlier.valid {
            *valid = (*valid).min(observed.head(name));
        }
    }
    if let Some((epoch, last)) = history.given.as_ref().filter(|_| history.opened <= calls) {
        let valid = last.iter().map(|(name, last)| (*name, (*last).min(observed.head(name))));
        given.push(Given { epoch: *epoch, last: last.clone(), valid: valid.collect() });
    }
    let survived = Survived { model, flakes: store.flakes.clone(), given };
    go_on(store, &survived, &keys, kept).await?;
    Ok(survived)
}

/// Returns the state that explains what is observed: all answered operations, and of the later ones
/// none, the first ones or all. If the disk has failed, each of those that were concurrent may have
/// been stored or not: a failed sync leaves open what a restart finds.
fn explain(
    history: &History,
    calls: usize,
    difference: impl Fn(&Model) -> Option<String>,
) -> Result<Model, Violation> {
    let (model, later) = history.at(calls);
    let mut differences = Vec::new();
    let mut is_explained = |model: &Model| {
        let difference = difference(model);
        let is_explained = difference.is_none();
        differences.extend(difference);
        is_explained
    };
    if is_explained(&model) {
        return Ok(model);
    }
    if history.has_failures {
        for concurrent in later.chunk_by(|one, other| one.queued == other.queued) {
            for chosen in (1..1_u32 << concurrent.len()).rev() {
                let mut model = model.clone();
                let is_chosen = |at: &usize| chosen & (1 << at) != 0;
                for at in (0..concurrent.len()).filter(is_chosen) {
                    model.apply(&concurrent[at].operation);
                }
                if is_explained(&model) {
                    return Ok(model);
                }
            }
        }
    } else {
        let mut model = model;
        for Recorded { operation, .. } in later {
            model.apply(operation);
            if is_explained(&model) {
                return Ok(model);
            }
        }
    }
    differences.dedup();
    differences.truncate(10);
    Err(format!("no allowed state explains the file:\n  {}", differences.join("\n  ")))
}

/// Checks the file as SQLite sees it.
fn check_file(connection: &Connection) -> Result<(), Violation> {
    let ask = |sql: &str| connection.query_row(sql, (), |row| row.get::<_, String>(0));
    let report = ask("PRAGMA integrity_check").map_err(|error| error.to_string())?;
    if report != "ok" {
        return Err(format!("integrity_check: {report}"));
    }
    for sql in CONTRADICTIONS {
        let count: i64 =
            connection.query_row(sql, (), |row| row.get(0)).map_err(|error| error.to_string())?;
        if count > 0 {
            return Err(format!("{count} rows: {sql}"));
        }
    }
    Ok(())
}

/// Repeats writes and makes new ones, as clients do after a restart.
async fn go_on(
    store: &mut Store,
    survived: &Survived,
    keys: &BTreeSet<u64>,
    kept: u64,
) -> Result<(), Violation> {
    let mut model = survived.model.clone();
    let create = |resource: &'static str| Operation::Write {
        resource,
        action: Action::Create(attributes(json!({ "tag": null }))),
        key: None,
    };
    let repeated = model.sent.iter().next_back().map(|number| Operation::Send {
        number: *number,
        persons: vec!["ann"],
        has_key: true,
    });
    let mut operations: Vec<_> = RESOURCES.map(create).into();
    operations.extend(repeated);
    let answers = store.execute(&operations, NOON).await;
    for (operation, answered) in operations.iter().zip(answers) {
        let expected = model.apply(operation);
        let outcome = answered.outcome.map_err(|error| format!("{operation:?}: {error}"))?;
        if outcome != expected {
            return Err(format!("{operation:?}: {outcome:?}, expected {expected:?}"));
        }
    }
    let observed = Observed::read(store, keys).await.map_err(|error| error.to_string())?;
    if let Some(difference) = observed.difference(&model, kept) {
        return Err(format!("after the restart: {difference}"));
    }
    for given in &survived.given {
        check_positions(store, given, kept).await?;
    }
    Ok(())
}

/// Checks the positions of a former start: those whose changes have survived are valid as long as
/// the log has them, and the others are not, although their offsets have other changes now.
async fn check_positions(store: &Store, given: &Given, kept: u64) -> Result<(), Violation> {
    for name in RESOURCES {
        let (last, valid) = (given.last[name], given.valid[name]);
        let positions: Vec<_> =
            (0..=last).map(|offset| Position { epoch: given.epoch, offset }).collect();
        let reached = store.engine.reaches(&resource(name), &positions).await;
        let reached = reached.map_err(|error| error.to_string())?;
        let head = store.head(name).await.map_err(|error| error.to_string())?.offset;
        for (position, reached) in positions.iter().zip(reached) {
            let must_be = position.offset <= valid && position.offset + kept >= head;
            let may_be = position.offset <= valid;
            if (must_be && !reached) || (reached && !may_be) {
                return Err(format!(
                    "{name}: position {position} is {reached}, and {valid} is the last that has survived"
                ));
            }
        }
    }
    Ok(())
}
