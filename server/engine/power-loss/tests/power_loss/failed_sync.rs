//! A sync of the database fails once, and later syncs succeed: the system has dropped what the
//! failed one should have written, and SQLite does not write it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use backwire_engine::{Engine, Error, Window};
use backwire_power_loss::{Call, Disk, Failure, Fault, Image, Journal};
use backwire_records::change::Id;
use backwire_records::write::Action;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use crate::model::Outcome;
use crate::operation::{NOON, Operation, attributes, resource};
use crate::store::{Folder, Store};

const DATABASE: &str = "backwire.db";

/// Writes a note of many pages. Returns whether it was stored.
pub(crate) async fn write(store: &mut Store, note: u64) -> Result<Outcome, Error> {
    let id = Id::parse(&format!("n{note}")).unwrap();
    let text = "x".repeat(100_000);
    let action = Action::Upsert(id, attributes(json!({ "text": text })));
    let operation = Operation::Write { resource: "note", action, key: None };
    store.execute(&[operation], NOON).await.remove(0).outcome
}

/// Writes notes until something has happened to the disk, and returns which were stored. They are
/// at most 400: then it does not happen.
async fn write_until(
    store: &mut Store,
    next: &mut u64,
    has_happened: impl Fn(&Journal) -> bool,
) -> Vec<u64> {
    let mut stored = Vec::new();
    for _ in 0..400 {
        if has_happened(&store.disk.journal()) {
            break;
        }
        *next += 1;
        if write(store, *next).await.is_ok() {
            stored.push(*next);
        }
    }
    stored
}

#[tokio::test]
async fn pages_that_a_failed_sync_has_dropped_are_written_again() {
    let folder = Folder::new();
    let open = async |disk: &Arc<Disk>| {
        folder.open(disk, Window::default(), BTreeMap::new()).await.unwrap()
    };
    let disk = Disk::new(Image::new());
    open(&disk).await.close(&folder);
    // The file is there from the start.
    let disk = Disk::new(disk.journal().stop(disk.calls()));
    let mut store = open(&disk).await;
    let reader = store.connect().unwrap();
    let (mut next, mut stored) = (0, Vec::new());
    for _ in 0..5 {
        next += 1;
        write(&mut store, next).await.unwrap();
        stored.push(next);
    }
    // A reader stops a checkpoint, which copies some pages and syncs nothing.
    reader.execute_batch("BEGIN; SELECT count(*) FROM meta").unwrap();
    let before = disk.journal().syncs(DATABASE);
    stored.extend(write_until(&mut store, &mut next, |it| it.writes(DATABASE) > 0).await);
    assert_eq!(disk.journal().syncs(DATABASE), before);
    reader.execute_batch("COMMIT").unwrap();
    // The next one copies the rest, and its sync fails.
    disk.plan(Fault {
        calls: vec![Call::Sync],
        file: Some(DATABASE),
        after: 0,
        failure: Failure::Device,
        is_lasting: false,
    });
    stored.extend(write_until(&mut store, &mut next, |it| it.syncs(DATABASE)[1] > 0).await);
    assert_eq!(disk.journal().syncs(DATABASE)[1], 1);
    // Writes that are accepted now must not destroy data that was stored before.
    let is_reused = |it: &Journal| it.syncs(DATABASE)[0] > before[0] + 2;
    stored.extend(write_until(&mut store, &mut next, is_reused).await);
    let refused = write(&mut store, 0).await;
    drop(reader);
    store.close(&folder);
    for seed in 0..20 {
        let left = disk.journal().cut(disk.calls(), &mut StdRng::seed_from_u64(seed));
        let store = open(&Disk::new(left)).await;
        for note in &stored {
            let id = Id::parse(&format!("n{note}")).unwrap();
            let found = store.engine.find_one(&resource("note"), &id).await.unwrap();
            assert!(found.value.is_some(), "seed {seed}: note {note} is lost");
        }
        store.close(&folder);
    }
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("restart the server"), "{refused}");
}
