//! The power is cut while a new database changes to a write-ahead log, and again after the next
//! start. The change has a rollback journal, which that start rolls back and deletes. If the
//! deletion is not durable before the start writes, the second cut brings the journal back beside
//! newer pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use backwire_engine::{Engine, Window};
use backwire_power_loss::{Disk, Image, Lie};
use backwire_records::change::Id;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::failed_sync::write;
use crate::history::Violation;
use crate::operation::resource;
use crate::store::{Folder, Store};

const ROLLBACK_JOURNAL: &str = "backwire.db-journal";
const WRITE_AHEAD_LOG: &str = "backwire.db-wal";

/// The number of seeds with which the power is cut after each call of the first start.
const SEEDS: u64 = 40;

/// The number of first cuts that leave both journals, and are followed by second ones.
const FIRST_CUTS: usize = 6;

/// The number of second cuts after each of them.
const SECOND_CUTS: u64 = 8;

/// The number of notes that the second start stores.
const NOTES: u64 = 6;

async fn open(folder: &Folder, disk: &Arc<Disk>) -> Result<Store, Violation> {
    let opened = folder.open(disk, Window::default(), BTreeMap::new()).await;
    opened.map_err(|error| format!("cannot open: {error}"))
}

/// Returns what first cuts leave: a rollback journal, and a write-ahead log beside it.
async fn first_cuts(folder: &Folder) -> Vec<Image> {
    let disk = Disk::new(Image::new());
    // The first start is one that does not sync its folder, so that there are more such cuts.
    disk.set_lie(Lie::IgnoreSyncsOfFolder);
    open(folder, &disk).await.unwrap().close(folder);
    let journal = disk.journal();
    let cuts = (0..=disk.calls()).flat_map(|calls| (0..SEEDS).map(move |seed| (calls, seed)));
    let images = cuts.map(|(calls, seed)| journal.cut(calls, &mut StdRng::seed_from_u64(seed)));
    let has_content = |image: &Image, name| image.get(name).is_some_and(|it| !it.is_empty());
    let both = images.filter(|image| {
        has_content(image, ROLLBACK_JOURNAL) && image.contains_key(WRITE_AHEAD_LOG)
    });
    both.take(FIRST_CUTS).collect()
}

/// Starts on what a first cut has left, stores notes, and cuts the power again.
async fn second_cuts(folder: &Folder, image: Image, lie: Lie) -> Result<Vec<Image>, Violation> {
    let disk = Disk::new(image);
    disk.set_lie(lie);
    let mut store = open(folder, &disk).await?;
    for note in 0..NOTES {
        write(&mut store, note).await.map_err(|error| error.to_string())?;
        // The log begins again, so the database alone has the earlier notes.
        let tool = store.connect().map_err(|error| error.to_string())?;
        let copied = tool.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        copied.map_err(|error| error.to_string())?;
    }
    let (journal, calls) = (disk.journal(), disk.calls());
    store.close(folder);
    let cut = |seed| journal.cut(calls, &mut StdRng::seed_from_u64(seed));
    Ok((0..SECOND_CUTS).map(cut).collect())
}

/// Checks that all notes are there.
async fn check(folder: &Folder, image: Image) -> Result<(), Violation> {
    let store = open(folder, &Disk::new(image)).await?;
    for note in 0..NOTES {
        let id = Id::parse(&format!("n{note}")).unwrap();
        let found = store.engine.find_one(&resource("note"), &id).await;
        if found.map_err(|error| error.to_string())?.value.is_none() {
            return Err(format!("note {note} is lost"));
        }
    }
    store.close(folder);
    Ok(())
}

/// Returns in how many second cuts the rollback journal is back, and the first violation.
async fn run(lie: Lie) -> (usize, Result<(), Violation>) {
    let folder = Folder::new();
    let (mut returned, mut checked) = (0, Ok(()));
    let first = first_cuts(&folder).await;
    assert!(!first.is_empty());
    for image in first {
        for image in second_cuts(&folder, image, lie).await.unwrap() {
            returned += usize::from(image.contains_key(ROLLBACK_JOURNAL));
            if checked.is_ok() {
                checked = check(&folder, image).await;
            }
        }
    }
    (returned, checked)
}

#[tokio::test]
async fn rolled_back_journal_stays_deleted_after_a_second_power_cut() {
    assert_eq!(run(Lie::None).await, (0, Ok(())));
}

#[tokio::test]
async fn missing_folder_sync_lets_a_second_power_cut_damage_the_database() {
    let (returned, checked) = run(Lie::IgnoreSyncsOfFolder).await;
    assert!(returned > 0);
    let violation = checked.unwrap_err();
    assert!(violation.contains("malformed"), "{violation}");
}
