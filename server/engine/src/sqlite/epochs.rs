//! Epochs, which identify the start of a server that made a part of a log.
//!
//! Each start draws an epoch, and every position that is sent until the next start has it. So a
//! position `epoch:offset` identifies the log of that start. The file may have less: it was
//! restored from a backup, or lost its last changes. Its next start then gives the same offsets to
//! other changes.
//!
//! Invariant: a position is valid if the file has its epoch and no later start has committed a
//! change at its offset or before. So an ordinary restart leaves all positions valid, and a
//! position beyond the common part of two logs is recognized however late it comes.
//!
//! Clients may get positions of a start before its first commit. So all epochs are stored, and for
//! each resource the first offsets of those that have committed to it.

use backwire_environment::HashSet;
use backwire_records::change::{Position, Resource};
use rusqlite::{Connection, OptionalExtension, Result, Transaction};

use crate::sqlite::row::Column;
use crate::{Environment, draw_epoch};

/// The maximum number of stored starts. A client that was away during more of them reads again.
const MAX_EPOCHS: u32 = 10_000;

/// Later starts have higher numbers. first: the offset of the first change that a start made.
pub(super) const TABLES: &str = "
    CREATE TABLE epochs (
        number INTEGER PRIMARY KEY,
        epoch INTEGER NOT NULL UNIQUE
    );

    CREATE TABLE first_offsets (
        resource TEXT NOT NULL,
        number INTEGER NOT NULL,
        first INTEGER NOT NULL,
        PRIMARY KEY (resource, number)
    ) WITHOUT ROWID;
";

/// Migrates the single epoch of an older file.
pub(super) const UPGRADE: &str = "
    INSERT INTO epochs (epoch) SELECT value FROM meta WHERE name = 'epoch';
    DELETE FROM meta WHERE name = 'epoch';
";

/// The epoch of this start.
#[derive(Debug)]
pub(super) struct CurrentEpoch {
    pub(super) epoch: u64,
    number: i64,
    /// The resources whose first offset is stored.
    with_first_offset: HashSet<Resource>,
}

impl CurrentEpoch {
    /// Creates a random epoch and stores it, and deletes the oldest ones.
    pub(super) fn begin(connection: &mut Connection) -> Result<Self> {
        let transaction = connection.transaction()?;
        forget(&transaction)?;
        let epoch = draw_epoch(&Environment::tokio());
        transaction.execute("INSERT INTO epochs (epoch) VALUES (?1)", [epoch.cast_signed()])?;
        let number = transaction.last_insert_rowid();
        transaction.commit()?;
        Ok(Self { epoch, number, with_first_offset: HashSet::default() })
    }

    /// Stores the first offset of a resource, unless one is stored.
    pub(super) fn store_first(
        &self,
        transaction: &Transaction<'_>,
        resource: &Resource,
        first: u64,
    ) -> Result<()> {
        if !self.with_first_offset.contains(resource) {
            let sql = "INSERT INTO first_offsets (resource, number, first) VALUES (?1, ?2, ?3)";
            let mut insert = transaction.prepare_cached(sql)?;
            insert.execute((Column(resource), self.number, first.cast_signed()))?;
        }
        Ok(())
    }

    /// Records that the first offsets of these resources are on the disk.
    pub(super) fn mark_stored(&mut self, resources: impl Iterator<Item = Resource>) {
        self.with_first_offset.extend(resources);
    }
}

/// Whether a position, whose offset the log has, is one of this log.
pub(super) fn is_valid(
    snapshot: &Transaction<'_>,
    resource: &Resource,
    position: Position,
    current: u64,
) -> Result<bool> {
    if position.epoch == current {
        return Ok(true);
    }
    let number: Option<i64> = snapshot
        .prepare_cached("SELECT number FROM epochs WHERE epoch = ?1")?
        .query_row([position.epoch.cast_signed()], |row| row.get(0))
        .optional()?;
    let Some(number) = number else { return Ok(false) };
    let next: Option<i64> = snapshot
        .prepare_cached("SELECT min(first) FROM first_offsets WHERE resource = ?1 AND number > ?2")?
        .query_row((Column(resource), number), |row| row.get(0))?;
    Ok(next.is_none_or(|next| position.offset < next.cast_unsigned()))
}

/// Deletes the oldest epochs and the first offsets that are no longer needed: those of deleted
/// epochs, and those below the end of the log except the last of them. No position below that end
/// is valid, and the last first offset makes all positions of earlier starts above it invalid.
fn forget(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute(
        "DELETE FROM epochs WHERE number <= (SELECT max(number) FROM epochs) - ?1",
        [MAX_EPOCHS],
    )?;
    transaction.execute_batch(
        "DELETE FROM first_offsets WHERE number < (SELECT min(number) FROM epochs);
         DELETE FROM first_offsets AS old WHERE EXISTS (
            SELECT 1 FROM first_offsets AS later JOIN resources ON name = later.resource
            WHERE later.resource = old.resource AND later.number > old.number
                AND later.first <= floor
         )",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::schema;
    use super::*;

    fn resource() -> Resource {
        Resource::parse("todo").unwrap()
    }

    /// A backup: a file, and the changes in it.
    #[derive(Clone)]
    struct Backup {
        bytes: Vec<u8>,
        log: Vec<u64>,
    }

    #[derive(Debug, Clone)]
    enum Step {
        Commit(u8),
        Restart,
        BackUp,
        Restore(Index),
        /// The oldest changes leave the log.
        Forget(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..4u8).prop_map(Step::Commit),
            3 => Just(Step::Restart),
            1 => Just(Step::BackUp),
            2 => any::<Index>().prop_map(Step::Restore),
            1 => (1..4u8).prop_map(Step::Forget),
        ]
    }

    /// A file, and its history. Each change is a number that is never used again.
    struct World {
        home: tempfile::TempDir,
        log: Vec<u64>,
        floor: u64,
        next: u64,
        current: Option<(Connection, CurrentEpoch)>,
        backups: Vec<Backup>,
        /// Each position that was sent, with the history up to it.
        given: BTreeMap<(u64, u64), Vec<u64>>,
    }

    impl World {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let (log, backups, given) = (Vec::new(), Vec::new(), BTreeMap::new());
            let mut world = Self { home, log, floor: 0, next: 0, current: None, backups, given };
            world.start();
            world
        }

        fn path(&self) -> std::path::PathBuf {
            self.home.path().join("backwire.db")
        }

        fn start(&mut self) {
            self.current = None;
            let mut connection = schema::create(&self.path(), &|_| Ok(())).unwrap();
            let epoch = CurrentEpoch::begin(&mut connection).unwrap();
            self.current = Some((connection, epoch));
            self.give();
        }

        fn give(&mut self) {
            let (_, current) = self.current.as_ref().unwrap();
            let position = (current.epoch, self.log.len() as u64);
            let before = self.given.insert(position, self.log.clone());
            assert!(before.is_none_or(|before| before == self.log), "a position has one meaning");
        }

        fn take(&mut self, step: Step) {
            match step {
                Step::Commit(count) => self.commit(count),
                Step::Restart => self.start(),
                Step::BackUp => {
                    let (connection, _) = self.current.as_ref().unwrap();
                    let copy = self.home.path().join(format!("{}.backup", self.backups.len()));
                    connection.execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
                    let bytes = std::fs::read(copy).unwrap();
                    self.backups.push(Backup { bytes, log: self.log.clone() });
                }
                Step::Restore(_) if self.backups.is_empty() => {}
                Step::Restore(index) => {
                    let backup = index.get(&self.backups).clone();
                    self.current = None;
                    std::fs::write(self.path(), backup.bytes).unwrap();
                    self.log = backup.log;
                    self.floor = 0;
                    self.start();
                    let (connection, _) = self.current.as_ref().unwrap();
                    let sql = "SELECT ifnull(max(floor), 0) FROM resources";
                    let floor: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
                    self.floor = floor.cast_unsigned();
                }
                Step::Forget(count) => {
                    self.floor = (self.floor + u64::from(count)).min(self.log.len() as u64);
                    self.store_counters();
                }
            }
        }

        fn commit(&mut self, count: u8) {
            let first = self.log.len() as u64 + 1;
            self.log.extend((self.next..).take(count.into()));
            self.next += u64::from(count);
            let (connection, current) = self.current.as_mut().unwrap();
            let transaction = connection.transaction().unwrap();
            current.store_first(&transaction, &resource(), first).unwrap();
            transaction.commit().unwrap();
            current.mark_stored([resource()].into_iter());
            self.store_counters();
            self.give();
        }

        fn store_counters(&self) {
            let (connection, _) = self.current.as_ref().unwrap();
            let sql = "INSERT OR REPLACE INTO resources (name, head, floor, next_id)
                       VALUES ('todo', ?1, ?2, 1)";
            connection.execute(sql, (self.log.len() as i64, self.floor as i64)).unwrap();
        }

        /// Checks that each position is valid if, and only if, the log continues from it.
        fn check(&mut self) -> std::result::Result<(), TestCaseError> {
            let (connection, current) = self.current.as_mut().unwrap();
            let snapshot = connection.transaction().unwrap();
            for ((epoch, offset), history) in &self.given {
                let position = Position { epoch: *epoch, offset: *offset };
                let has_offset = (self.floor..=self.log.len() as u64).contains(offset);
                let is_valid = has_offset
                    && is_valid(&snapshot, &resource(), position, current.epoch).unwrap();
                if is_valid {
                    prop_assert!(self.log.starts_with(history), "{} goes on elsewhere", position);
                }
                let has_epoch = snapshot
                    .query_row("SELECT 1 FROM epochs WHERE epoch = ?1", [*epoch as i64], |_| Ok(()))
                    .optional()
                    .unwrap();
                if has_offset && has_epoch.is_some() && self.log.starts_with(history) {
                    prop_assert!(is_valid, "{} is refused without need", position);
                }
            }
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn position_is_valid_if_and_only_if_the_log_continues_from_it(
            steps in proptest::collection::vec(step(), 1..30),
        ) {
            let mut world = World::new();
            for step in steps {
                world.take(step);
                world.check()?;
            }
        }
    }

    #[test]
    fn number_of_epochs_and_of_first_offsets_is_bounded() {
        let mut world = World::new();
        let insert =
            "WITH RECURSIVE n (i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 21000)
                      INSERT INTO epochs SELECT i, i FROM n";
        world.current.as_ref().unwrap().0.execute(insert, []).unwrap();
        for _ in 0..20 {
            world.start();
            world.commit(1);
        }
        world.take(Step::Forget(3));
        world.floor = 15;
        world.store_counters();
        world.start();
        let (connection, _) = world.current.as_ref().unwrap();
        let count = |table: &str| -> u32 {
            let sql = format!("SELECT count(*) FROM {table}");
            connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!((count("epochs"), count("first_offsets")), (MAX_EPOCHS + 1, 6));
    }
}
