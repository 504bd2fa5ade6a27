//! Tests of the size of the write-ahead log with concurrent readers.

use tempfile::TempDir;

use super::*;
use crate::ReadOptions;

const MAX_BYTES: u64 = 32 << 20;

struct Store {
    folder: TempDir,
    writer: Connection,
    readers: ReadPool,
    checkpoints: Checkpoints,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backwire.db");
        let mut writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        writer.execute_batch("CREATE TABLE texts (text TEXT)").unwrap();
        let readers = ReadPool::new(&path, Duration::from_secs(3600));
        let checkpoints = Checkpoints::begin(
            &path,
            &mut writer,
            readers.clone(),
            &DiskFailure::of(&path),
            MAX_BYTES,
        )
        .unwrap();
        Self { folder, writer, readers, checkpoints }
    }

    /// Commits a text of 256 KiB.
    fn write(&self) {
        let turn = self.checkpoints.turn();
        self.writer.execute("INSERT INTO texts VALUES (hex(zeroblob(131072)))", ()).unwrap();
        drop(turn);
        self.checkpoints.committed();
    }

    fn wal_bytes(&self) -> u64 {
        let wal = wal_of(&self.folder.path().join("backwire.db"));
        fs::metadata(wal).map_or(0, |wal| wal.len())
    }
}

/// State that the writer shares with lists of one client which overlap all the time.
#[derive(Default)]
struct Overlap {
    begun: AtomicU32,
    commits: AtomicU32,
    is_over: AtomicBool,
}

impl Overlap {
    /// Reads a list that needs the current log until there are many more commits and another list
    /// has begun.
    fn read(&self, snapshot: &Connection, readers: &ReadPool) -> Result<()> {
        let _: u32 = snapshot.query_row("SELECT count(*) FROM texts", (), |row| row.get(0))?;
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let last = self.commits.load(Ordering::Relaxed) + 40;
        let is_needed = || {
            self.begun.load(Ordering::Relaxed) == number
                || self.commits.load(Ordering::Relaxed) < last
        };
        while is_needed() && !readers.are_lists_paused() && !self.is_over.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        Ok(())
    }

    /// Reads one list after the other.
    async fn read_all(self: Arc<Self>, readers: ReadPool) {
        let options = ReadOptions { client: Some([10, 0, 0, 1].into()), ..ReadOptions::default() };
        while !self.is_over.load(Ordering::Relaxed) {
            let (overlap, pool) = (Arc::clone(&self), readers.clone());
            let list =
                readers.read_list(&options, move |snapshot, _| overlap.read(snapshot, &pool));
            list.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_shrinks_while_long_lists_overlap_all_the_time() {
    let store = Store::new();
    let overlap = Arc::<Overlap>::default();
    let lists =
        [(); 2].map(|()| tokio::spawn(Arc::clone(&overlap).read_all(store.readers.clone())));
    while overlap.begun.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    let (mut largest, mut has_shrunk) = (0, false);
    while !has_shrunk && largest < 8 * MAX_BYTES {
        store.write();
        overlap.commits.fetch_add(1, Ordering::Relaxed);
        largest = largest.max(store.wal_bytes());
        has_shrunk = store.wal_bytes() < largest;
    }
    overlap.is_over.store(true, Ordering::Relaxed);
    for lists in lists {
        lists.await.unwrap();
    }
    assert!(has_shrunk && largest > MAX_BYTES, "{largest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_of_many_commits_stays_small() {
    let store = Store::new();
    for _ in 0..400 {
        store.write();
    }
    let bytes = store.wal_bytes();
    assert!(bytes <= MAX_BYTES, "{bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_commits_are_in_the_file_after_the_checkpoints_have_ended() {
    let store = Store::new();
    (0..100).for_each(|_| store.write());
    let Store { folder, writer, readers, checkpoints } = store;
    drop((checkpoints, writer, readers));
    let visitor = Connection::open(folder.path().join("backwire.db")).unwrap();
    let count = visitor.query_row("SELECT count(*) FROM texts", (), |row| row.get::<_, u32>(0));
    assert_eq!(count.unwrap(), 100);
}
