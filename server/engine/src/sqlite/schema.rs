//! The schema of the file, and the connections to it.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::files::{SyncFolder, sync_folder_of};
use super::indexes::Indexes;
use super::{cascades, epochs, ledger, lock, vacuum};
use crate::Error;

/// A write-ahead log that is larger than this is truncated.
pub(super) const MAX_WAL_BYTES: u64 = 64 << 20;

/// The version of the tables below. A file of a later version is refused, because its tables are
/// unknown.
const VERSION: i64 = UPGRADES.len() as i64 + 1;

/// The upgrades from each version to the next, beginning with the first.
const UPGRADES: [&str; 14] = [
    "ALTER TABLE log ADD COLUMN published INTEGER NOT NULL DEFAULT FALSE",
    SESSIONS,
    QUEUES,
    "ALTER TABLE log ADD COLUMN identity TEXT;
     ALTER TABLE log ADD COLUMN key TEXT;
     ALTER TABLE log ADD COLUMN fingerprint INTEGER;
     ALTER TABLE resources ADD COLUMN moved INTEGER NOT NULL DEFAULT 0",
    "UPDATE log SET attributes = (SELECT json_group_array(key) FROM json_each(attributes))",
    // Changes that the log had dropped are added to it again, as far as an answer needs them.
    "INSERT INTO log (resource, offset, previous, verb, id, before, after, attributes, mark, published,
                      at, identity, key, fingerprint)
     SELECT resource, offset, 0, verb, id, iif(verb = 3, shown, NULL), iif(verb = 3, NULL, shown),
            '[]', mark, FALSE, at, identity, key, fingerprint FROM ledger WHERE TRUE
     ON CONFLICT (resource, offset) DO UPDATE SET
        identity = excluded.identity, key = excluded.key, fingerprint = excluded.fingerprint;
     ALTER TABLE ledger RENAME TO entries;
     CREATE TABLE ledger (
        key TEXT NOT NULL,
        identity TEXT NOT NULL,
        resource TEXT NOT NULL,
        offset INTEGER NOT NULL,
        PRIMARY KEY (key, identity)
     ) WITHOUT ROWID;
     INSERT INTO ledger SELECT key, identity, resource, offset FROM entries;
     DROP TABLE entries",
    UNCHANGED,
    "ALTER TABLE resources ADD COLUMN key_name TEXT; UPDATE resources SET key_name = 'id'",
    ledger::UPGRADE,
    epochs::TABLES,
    epochs::UPGRADE,
    cascades::UPGRADE,
    COUNTS,
    HASHED_POSTS,
];

/// How long to wait for another process (a backup, an operator's shell) to unlock the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of prepared statements that each connection caches: all of ours, and some for lists.
const STATEMENT_CACHE_SIZE: usize = 128;

/// The page cache of the writer, in negative KiB as SQLite expects it.
const WRITER_CACHE_SIZE: i64 = -16 * 1024;

/// The page cache of each reader.
const READER_CACHE_SIZE: i64 = -32 * 1024;

/// Columns named `id` have no type, so that SQLite keeps integers and texts apart and sorts them as
/// [`Id`](backwire_records::change::Id) does: integers first and by value, then texts by their
/// bytes.
const TABLES: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

    -- floor: up to here the log has changes only for what is remembered of them.
    -- moved: up to here the ledger has what it needs of those in the log that came with a key.
    -- key_name: the name of the primary key of the first record; null before it was written.
    -- records: how many there are. log_bytes: what the changes in the log take, see change_bytes().
    CREATE TABLE resources (
        name TEXT PRIMARY KEY,
        head INTEGER NOT NULL,
        floor INTEGER NOT NULL,
        next_id INTEGER NOT NULL,
        moved INTEGER NOT NULL DEFAULT 0,
        key_name TEXT,
        records INTEGER NOT NULL DEFAULT 0,
        log_bytes INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;

    -- offset: of the record's last change. json: null when there is no such record; such a row stays
    -- for as long as the change is in the log. changed: the offset of its last change that was not only
    -- published, if that is another.
    CREATE TABLE records (
        resource TEXT NOT NULL,
        id NOT NULL,
        offset INTEGER NOT NULL,
        json TEXT,
        changed INTEGER,
        PRIMARY KEY (resource, id)
    );

    -- The changes of one record are a chain: records.offset, previous, previous ...
    -- attributes: the names of those that were set, whose values are in after.
    -- identity, key, fingerprint: of a write that is remembered; up to moved the ledger has them, too.
    CREATE TABLE log (
        resource TEXT NOT NULL,
        offset INTEGER NOT NULL,
        previous INTEGER NOT NULL,
        verb INTEGER NOT NULL,
        id NOT NULL,
        before TEXT,
        after TEXT,
        attributes TEXT NOT NULL,
        mark INTEGER NOT NULL,
        published INTEGER NOT NULL,
        origin TEXT,
        at INTEGER NOT NULL,
        identity TEXT,
        key TEXT,
        fingerprint INTEGER,
        PRIMARY KEY (resource, offset)
    );
";

/// The table of writes with a key that changed nothing, in the eighth and the ninth version.
const UNCHANGED: &str = "
    CREATE TABLE unchanged (
        key TEXT NOT NULL,
        identity TEXT NOT NULL,
        fingerprint INTEGER NOT NULL,
        resource TEXT NOT NULL,
        offset INTEGER NOT NULL,
        id NOT NULL,
        json TEXT NOT NULL,
        mark INTEGER NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (key, identity)
    );
";

/// Adds the counts of records and of bytes in the logs.
const COUNTS: &str = "
    ALTER TABLE resources ADD COLUMN records INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE resources ADD COLUMN log_bytes INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX IF NOT EXISTS anonymous_sessions_by_end ON sessions (until)
        WHERE json ->> '$.\"backwire.person\"' IS NULL;
    UPDATE resources SET
        records = (SELECT count(*) FROM records WHERE resource = name AND json IS NOT NULL),
        log_bytes = (SELECT ifnull(sum(128 + octet_length(attributes) + ifnull(octet_length(before), 0)
                                       + ifnull(octet_length(after), 0)), 0)
                     FROM log WHERE resource = name AND offset > floor);
";

/// The table of sessions, and in `meta` the secret that signs their cookies.
const SESSIONS: &str = "
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        json TEXT NOT NULL,
        until INTEGER NOT NULL
    ) WITHOUT ROWID;

    CREATE INDEX sessions_by_end ON sessions (until);
    CREATE INDEX anonymous_sessions_by_end ON sessions (until)
        WHERE json ->> '$.\"backwire.person\"' IS NULL;

    INSERT INTO meta (name, value) VALUES ('session_secret', randomblob(32));
";

/// The tables of queues. Ids are flakes with their highest bit inverted, so that they sort as
/// signed numbers. Dependent rows are deleted with a row.
const QUEUES: &str = "
    -- waiting: rows of the inbox.
    CREATE TABLE persons (
        id INTEGER PRIMARY KEY,
        site TEXT NOT NULL,
        name TEXT NOT NULL,
        waiting INTEGER NOT NULL DEFAULT 0,
        UNIQUE (site, name)
    );

    -- ttl: in milliseconds. until: null while it is connected. floor: it is done with all up to here.
    CREATE TABLE devices (
        id INTEGER PRIMARY KEY,
        person INTEGER NOT NULL,
        name TEXT NOT NULL,
        sockets INTEGER NOT NULL,
        ttl INTEGER NOT NULL,
        until INTEGER,
        floor INTEGER NOT NULL,
        UNIQUE (person, name)
    );

    CREATE INDEX devices_by_end ON devices (until);

    -- event: null where something was dropped unread. readers: rows of inboxes.
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        event TEXT,
        args TEXT,
        resync INTEGER NOT NULL,
        readers INTEGER NOT NULL DEFAULT 0
    );

    -- begun: whether a device is done with it. until: of one that waits for the first device.
    CREATE TABLE inbox (
        person INTEGER NOT NULL,
        id INTEGER NOT NULL,
        event TEXT,
        begun INTEGER NOT NULL,
        until INTEGER,
        PRIMARY KEY (person, id)
    ) WITHOUT ROWID;

    CREATE INDEX inbox_by_event ON inbox (person, event, id);
    CREATE INDEX inbox_by_end ON inbox (until) WHERE until IS NOT NULL;
    CREATE INDEX inbox_by_person_and_end ON inbox (person, until) WHERE until IS NOT NULL;

    -- What a device is done with above its floor.
    CREATE TABLE acks (
        device INTEGER NOT NULL,
        id INTEGER NOT NULL,
        PRIMARY KEY (device, id)
    ) WITHOUT ROWID;

    CREATE TRIGGER inbox_grows AFTER INSERT ON inbox BEGIN
        UPDATE persons SET waiting = waiting + 1 WHERE id = new.person;
        UPDATE messages SET readers = readers + 1 WHERE id = new.id;
    END;

    CREATE TRIGGER inbox_shrinks AFTER DELETE ON inbox BEGIN
        UPDATE persons SET waiting = waiting - 1 WHERE id = old.person;
        UPDATE messages SET readers = readers - 1 WHERE id = old.id;
        DELETE FROM messages WHERE id = old.id AND readers = 0;
    END;

    -- Apart, because it costs SQLite a table in memory, and whoever has one device has no acks.
    CREATE TRIGGER acks_go AFTER DELETE ON inbox WHEN old.begun BEGIN
        DELETE FROM acks WHERE id = old.id
            AND device IN (SELECT id FROM devices WHERE person = old.person);
    END;

    CREATE TRIGGER device_goes AFTER DELETE ON devices BEGIN
        DELETE FROM acks WHERE device = old.id;
    END;

    -- In the order of their rowids, the entries are in the order they were made.
    CREATE TABLE posts (
        site TEXT NOT NULL,
        identity TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint INTEGER NOT NULL,
        id INTEGER NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (site, identity, key)
    );
";

/// Replaces the identities and keys of messages by hashes, as the ledger has them. The function
/// `key_hash` is one of the ledger.
const HASHED_POSTS: &str = "
    ALTER TABLE posts RENAME TO former_posts;

    -- key: hash of identity and key. In the order of their rowids, the entries are in the order they
    -- were made.
    CREATE TABLE posts (
        site TEXT NOT NULL,
        key BLOB NOT NULL,
        fingerprint INTEGER NOT NULL,
        id INTEGER NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (site, key)
    );
    INSERT INTO posts (site, key, fingerprint, id, at)
        SELECT site, key_hash(identity, key), fingerprint, id, at FROM former_posts ORDER BY rowid;
    DROP TABLE former_posts;
";

/// Opens the writer's connection, and creates the file and the tables if they are missing.
///
/// Invariant: nothing is written to the write-ahead log before the deletion of a rollback journal
/// is durable. The switch of a new or restored file to WAL mode writes a rollback journal. After a
/// power cut, the first read of any process rolls it back and deletes it.
/// SQLite then syncs the folder only with `synchronous=EXTRA`, which cannot be set before that
/// read. If a second power cut brought the journal back, it would be rolled back into a file with
/// newer pages. SQLite's own VFS also syncs the folder with the first sync of the log, but this is
/// undocumented, and its error is ignored.
pub(super) fn create(path: &Path, sync: SyncFolder<'_>) -> Result<Connection, Error> {
    let mut connection = open_writer(path).map_err(|error| in_file(path, error))?;
    sync_folder_of(&lock::resolved(path), sync)?;
    fill(&mut connection).map_err(|error| in_file(path, error))?;
    check_journal(&connection, path)?;
    match version(&connection).map_err(|error| in_file(path, error))? {
        VERSION => {
            vacuum::rewrite_older(&connection, path);
            Ok(connection)
        }
        other => Err(of_another_version(path, other)),
    }
}

/// Opens the writer's connection. SQLite has rolled back a journal when this returns.
fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
    // This comes before anything is written.
    vacuum::enable(&connection)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "journal_size_limit", MAX_WAL_BYTES.cast_signed())?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE_SIZE)?;
    // Invariant: a commit is on the disk when it returns, also if the power goes.
    connection.pragma_update(None, "synchronous", "full")?;
    ledger::add_functions(&connection)?;
    Ok(connection)
}

/// Fails if there is no write-ahead log, which SQLite does not report as an error. Otherwise a
/// commit would be durable only when the folder is synced, which SQLite does not do after it.
fn check_journal(connection: &Connection, path: &Path) -> Result<(), Error> {
    let mode = connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
    match mode.map_err(|error| in_file(path, error))?.as_str() {
        "wal" => Ok(()),
        other => Err(Error::Unavailable(format!(
            "{}: no write-ahead log can be used (journal_mode={other}): check the disk and its file system",
            path.display()
        ))),
    }
}

/// Returns the error of a file with its name.
pub(super) fn in_file(path: &Path, error: rusqlite::Error) -> Error {
    match Error::from(error) {
        Error::Unavailable(reason) => Error::Unavailable(format!("{}: {reason}", path.display())),
        other => other,
    }
}

/// Returns the version of a file's tables.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    meta(connection, "version")
}

/// Fails if a file is of a later version than this.
pub(super) fn check_version(path: &Path, version: i64) -> Result<(), Error> {
    if version <= VERSION { Ok(()) } else { Err(of_another_version(path, version)) }
}

fn of_another_version(path: &Path, version: i64) -> Error {
    Error::Unavailable(format!(
        "{}: made by another version of backwire: its tables have version {version}, not {VERSION}",
        path.display()
    ))
}

/// Creates and drops indexes, so that the file has the declared ones.
pub(super) fn index(path: &Path, indexes: &Indexes) -> Result<(), Error> {
    let made = connect(path, OpenFlags::empty()).and_then(|mut connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        indexes.make(&transaction)?;
        transaction.commit()
    });
    made.map_err(|error| in_file(path, error))
}

/// Opens a connection for reading. It may do the housekeeping of a reader, which writes, but cannot
/// change data.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::empty())?;
    connection.pragma_update(None, "cache_size", READER_CACHE_SIZE)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Opens the connection that makes checkpoints.
pub(super) fn open_checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::empty())?;
    // SQLite restarts the log only after the copied pages are on the disk.
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

/// Returns the secret that signs session cookies if no other secret is configured.
pub(super) fn secret(connection: &Connection) -> rusqlite::Result<[u8; 32]> {
    let sql = "SELECT value FROM meta WHERE name = 'session_secret'";
    connection.query_row(sql, [], |row| row.get(0))
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    // Each connection is used by one thread at a time, so SQLite's own locks would only cost.
    let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE_SIZE);
    // Our plans do not depend on bound values. Without this, each new value would prepare the
    // statement again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Creates the tables of an empty file, and upgrades those of an older one.
fn fill(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !transaction.table_exists(None, "meta")? {
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(SESSIONS)?;
        transaction.execute_batch(QUEUES)?;
        transaction.execute_batch(HASHED_POSTS)?;
        transaction.execute_batch(ledger::TABLE)?;
        transaction.execute_batch(epochs::TABLES)?;
        transaction.execute_batch(cascades::TABLE)?;
        let set = "INSERT INTO meta (name, value) VALUES ('version', ?1)";
        transaction.execute(set, [VERSION])?;
    }
    let version = meta(&transaction, "version")?;
    for (upgrade, to) in UPGRADES.iter().zip(2..).filter(|(_, to)| *to > version) {
        transaction.execute_batch(upgrade)?;
        transaction.execute("UPDATE meta SET value = ?1 WHERE name = 'version'", [to])?;
    }
    transaction.commit()
}

fn meta(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
}
