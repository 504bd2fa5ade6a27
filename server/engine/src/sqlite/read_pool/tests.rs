//! Tests of readers: failures, deadlines, limits and pauses.

use futures_util::FutureExt;
use rusqlite::Connection;
use tokio::task;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn panic_of_a_read_does_not_affect_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backwire.db");
    Connection::open(&path).unwrap();
    let readers = Arc::new(ReadPool::new(&path, HOUR));
    let reads = (0..100).map(|n: i64| {
        let readers = Arc::clone(&readers);
        tokio::spawn(async move {
            let read = move |snapshot: &Transaction<'_>| {
                assert_ne!(n % 10, 7, "a mistake");
                snapshot.query_row("SELECT ?1", [n], |row| row.get::<_, i64>(0))
            };
            (n, readers.read(read).await)
        })
    });
    for read in reads.collect::<Vec<_>>() {
        match read.await.unwrap() {
            (n, Ok(value)) => assert!(value == n && n % 10 != 7),
            (n, Err(_)) => assert_eq!(n % 10, 7),
        }
    }
    assert!(readers.queue.state().idle.len() <= MAX_CONNECTIONS);
}

#[tokio::test]
async fn each_read_of_a_file_that_cannot_be_opened_fails() {
    let readers = ReadPool::new(Path::new("/nowhere/backwire.db"), HOUR);
    for _ in 0..2 * MAX_CONNECTIONS {
        assert!(matches!(readers.read(|_| Ok(())).await, Err(Error::Unavailable(_))));
    }
}

/// A statement that ends only if it is interrupted.
const ENDLESS: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n";

fn pool(deadline: Duration) -> (tempfile::TempDir, Arc<ReadPool>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backwire.db");
    Connection::open(&path).unwrap();
    (folder, Arc::new(ReadPool::new(&path, deadline)))
}

fn of(client: u8) -> ReadOptions {
    ReadOptions { client: Some([10, 0, 0, client].into()), ..ReadOptions::default() }
}

/// Begins a read that does not end by itself, and waits until it runs.
async fn endless(
    pool: &Arc<ReadPool>,
    options: ReadOptions,
) -> task::JoinHandle<Result<i64, Error>> {
    let (begun, has_begun) = oneshot::channel();
    let pool = Arc::clone(pool);
    let read = move |snapshot: &Transaction<'_>, _: &ReadControl| {
        begun.send(()).unwrap();
        snapshot.query_row(ENDLESS, (), |row| row.get(0))
    };
    let reading = tokio::spawn(async move { pool.read_list(&options, read).await });
    has_begun.await.unwrap();
    reading
}

#[tokio::test(flavor = "multi_thread")]
async fn read_is_interrupted_at_its_deadline() {
    let deadline = Duration::from_millis(20);
    let (_folder, pool) = pool(deadline);
    let options = of(1);
    let read = pool.read_list(&options, |snapshot, _| {
        snapshot.query_row(ENDLESS, (), |row| row.get::<_, i64>(0))
    });
    assert!(matches!(read.await, Err(Error::ReadDeadline(limit)) if limit == deadline));
    let read = pool.read(|snapshot| snapshot.query_row(ENDLESS, (), |row| row.get::<_, i64>(0)));
    assert!(matches!(read.await, Err(Error::ReadDeadline(_))));
    // The connection is usable again.
    let one = pool.read(|snapshot| snapshot.query_row("SELECT 1", (), |row| row.get::<_, i64>(0)));
    assert_eq!(one.await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_one_request_have_one_deadline() {
    let (_folder, pool) = pool(Duration::from_secs(2));
    let options = of(1);
    assert!(pool.read_list(&options, |_, control| control.check()).await.is_ok());
    options.time.spend(Duration::from_secs(2));
    let read = pool.read_list(&options, |_, control| control.check()).await;
    assert!(matches!(read, Err(Error::ReadDeadline(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn short_read_and_list_of_another_client_do_not_wait_for_lists_without_end() {
    let (_folder, pool) = pool(HOUR);
    let mut readings = Vec::new();
    for _ in 0..MAX_LISTS_PER_CLIENT {
        readings.push(endless(&pool, of(1)).await);
    }
    // One more of the same client waits, and begins when one of the others is gone.
    let (begun, mut has_begun) = oneshot::channel();
    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.read_list(&of(1), |_, _| Ok(begun.send(()))).await }
    });
    assert!(pool.read(|_| Ok(true)).await.unwrap());
    assert!(pool.read_list(&of(2), |_, _| Ok(true)).await.unwrap());
    readings.push(endless(&pool, of(2)).await);
    assert!(pool.read(|_| Ok(true)).await.unwrap());
    assert!(has_begun.try_recv().is_err());
    readings.swap_remove(0).abort();
    has_begun.await.unwrap();
    waiting.await.unwrap().unwrap().unwrap();
    readings.iter().for_each(|reading| reading.abort());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_read_is_interrupted_or_taken_out_of_the_queue() {
    let (_folder, pool) = pool(HOUR);
    let mut readings = Vec::new();
    for client in 0..MAX_LISTS {
        readings.push(endless(&pool, of(u8::try_from(client).unwrap())).await);
    }
    let none = |pool: &ReadPool| pool.queue.state().lists.is_empty();
    let options = of(9);
    let mut waiting = Box::pin(pool.read_list(&options, |_, _| Ok(())));
    assert!((&mut waiting).now_or_never().is_none() && !none(&pool));
    drop(waiting);
    assert!(none(&pool));
    readings.iter().for_each(|reading| reading.abort());
    // It is read only when a reader is free again.
    for _ in 0..MAX_LISTS {
        assert!(pool.read_list(&of(9), |_, _| Ok(true)).await.unwrap());
    }
}

/// A read of a list that has begun, or is waiting for its turn.
fn list(pool: &Arc<ReadPool>, client: u8) -> task::JoinHandle<Result<bool, Error>> {
    let pool = Arc::clone(pool);
    tokio::spawn(async move { pool.read_list(&of(client), |_, _| Ok(true)).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_does_not_delay_other_clients_until_earlier_lists_have_ended() {
    let (_folder, pool) = pool(HOUR);
    let long = endless(&pool, of(1)).await;
    let paused = pool.pause_lists();
    assert!(list(&pool, 2).await.unwrap().unwrap());
    assert!(pool.read(|_| Ok(true)).await.unwrap());
    let of_first = list(&pool, 1);
    assert!(!paused.wait(Duration::ZERO) && !of_first.is_finished());
    long.abort();
    assert!(paused.wait(HOUR));
    let of_second = list(&pool, 2);
    while pool.queue.state().lists.len() < 2 {
        task::yield_now().await;
    }
    assert!(pool.queue.state().reading.is_empty());
    drop(paused);
    assert!(of_first.await.unwrap().unwrap() && of_second.await.unwrap().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_begin_after_a_pause_with_at_most_the_allowed_readers() {
    let (_folder, pool) = pool(HOUR);
    let paused = pool.pause_lists();
    let waiting: Vec<_> = (0..20).map(|client| list(&pool, client)).collect();
    while pool.queue.state().lists.len() < waiting.len() {
        task::yield_now().await;
    }
    drop(paused);
    assert!(pool.queue.state().busy <= MAX_CONNECTIONS);
    for list in waiting {
        assert!(list.await.unwrap().unwrap());
    }
}

/// However many lists others have queued, a client that arrives is the next, and then each client
/// has a turn before any has two.
#[test]
fn lists_of_a_new_client_come_before_the_backlog_of_others() {
    let mut state = State::default();
    let mut number = 0;
    let mut push = |state: &mut State, client: u8| {
        number += 1;
        let job: Job = Box::new(|_| ());
        state.lists.entry(of(client).client).or_default().insert(number, job);
    };
    (0..50).for_each(|_| (1..=4).for_each(|client| push(&mut state, client)));
    let finish_and_begin = |state: &mut State| {
        if state.reading.len() == MAX_LISTS {
            let client = state.reading.remove(0).client;
            state.forget_turn(client);
        }
        drop(state.begin().unwrap());
        state.reading.last().unwrap().client
    };
    for _ in 0..20 {
        finish_and_begin(&mut state);
    }
    for _ in 0..10 {
        push(&mut state, 9);
        assert_eq!(finish_and_begin(&mut state), of(9).client);
        let mut others: Vec<_> = (0..4).map(|_| finish_and_begin(&mut state)).collect();
        others.sort();
        assert_eq!(others, [1, 2, 3, 4].map(|client| of(client).client));
    }
}
