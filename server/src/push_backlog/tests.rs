//! A fan-out made by hand, which sends one change at a time.

use std::collections::HashMap as StdHashMap;

use backwire_engine::{Memory, Window};
use backwire_records::change::Id;
use backwire_records::write::Action;
use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};

use super::*;

/// The share of one client.
const SHARE: usize = MAX_PACKETS / 2;

/// The packets of all clients.
const MAX_PACKETS: usize = 32_768;

/// The maximum that a change counts as.
const MAX_COUNTED: usize = SHARE / MAX_STOCK_CHANGES;

struct BacklogTest {
    backlog: Arc<PushBacklog>,
    engine: Arc<dyn Engine>,
    changes: mpsc::Receiver<Arc<Change>>,
}

fn client(number: u8) -> Option<IpAddr> {
    Some([10, 0, 0, number].into())
}

fn resource(name: &str) -> Resource {
    Resource::parse(name).unwrap()
}

fn write(resource: &Resource, client: Option<IpAddr>) -> Write {
    let record = json!({ "title": "Milk" }).as_object().unwrap().clone();
    Write {
        client,
        origin: client.map(|client| client.to_string().into()),
        ..Write::new(resource.clone(), Action::Create(record), 0)
    }
}

impl BacklogTest {
    fn begin() -> Self {
        let (tail, changes) = mpsc::channel(4_096);
        let engine = Arc::new(Memory::new(Window::default(), tail));
        Self { backlog: PushBacklog::new(MAX_PACKETS, Arc::default()), engine, changes }
    }

    /// Returns a task that creates a record of a resource.
    fn writer(
        &self,
        name: &str,
        stock_clients: usize,
        client: Option<IpAddr>,
    ) -> impl Future<Output = Result<CommitOutcome, Error>> + Send + use<> {
        let (backlog, engine) = (Arc::clone(&self.backlog), Arc::clone(&self.engine));
        let resource = resource(name);
        async move {
            let permit = backlog.enter((&resource, 1), stock_clients, client).await;
            permit.commit(&Environment::tokio(), engine, write(&resource, client)).await
        }
    }

    /// Returns how many writes had to wait.
    fn waits(&self) -> u64 {
        let mut counts = self.backlog.limits.counts();
        counts.find(|(limit, _)| *limit == Limit::UnsentPackets).unwrap().1
    }

    /// Takes the next change, and reports it as sent.
    fn send_next(&mut self, packets: usize) -> bool {
        let change = self.changes.try_recv();
        change.inspect(|change| self.backlog.sent(change, packets, 0)).is_ok()
    }
}

async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

#[tokio::test]
async fn writers_of_an_expensive_resource_wait_and_others_do_not() {
    let mut test = BacklogTest::begin();
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        tasks.spawn(test.writer("junk", 1_000, client(1)));
    }
    settle().await;
    assert_eq!(test.changes.len(), SHARE / 1_000);
    assert_eq!(test.waits(), 100 - SHARE as u64 / 1_000);
    assert!(test.writer("todo", 0, client(1)).now_or_never().unwrap().is_ok());
    assert!(test.writer("todo", MIN_PACKETS - 1, client(1)).now_or_never().unwrap().is_ok());
    assert!(test.writer("junk", 1_000, client(2)).now_or_never().unwrap().is_ok());
    let mut sent = 0;
    while !tasks.is_empty() {
        sent += usize::from(test.send_next(1_000));
        assert!(test.changes.len() <= SHARE / 1_000 + 3);
        settle().await;
        while tasks.try_join_next().is_some() {}
    }
    while test.send_next(1_000) {
        sent += 1;
    }
    // A cheap change has no claim, whatever it turns out to cost.
    assert_eq!((sent, test.backlog.claimed()), (103, 0));
}

#[tokio::test]
async fn change_counts_as_a_sixteenth_of_the_limit_at_most() {
    for max_packets in [1, 100, 1_600] {
        let backlog = PushBacklog::new(max_packets, Arc::default());
        let junk = resource("junk");
        let mut permits = Vec::new();
        for _ in 0..40 {
            let enter = backlog.enter((&junk, 1), 1_000_000, client(1));
            permits.extend(enter.now_or_never().filter(|permit| permit.0.is_some()));
        }
        // If all changes are cheaper than the cheapest that is counted, nobody waits.
        let expected = if max_packets < 16 * MIN_PACKETS { 0 } else { MAX_STOCK_CHANGES };
        assert_eq!(permits.len(), expected);
    }
}

#[tokio::test]
async fn permit_is_kept_until_the_write_has_ended_if_its_caller_goes_away() {
    let mut test = BacklogTest::begin();
    for _ in 0..2 * MAX_STOCK_CHANGES {
        // The engine commits at the first poll, and answers later if its tail is slow.
        drop(test.writer("junk", MAX_COUNTED, client(1)).now_or_never());
        settle().await;
    }
    assert_eq!(test.changes.len(), MAX_STOCK_CHANGES);
    while test.send_next(5_000) {
        settle().await;
    }
    assert_eq!(test.backlog.claimed(), 0);
}

#[tokio::test]
async fn skipped_and_refused_writes_release_their_packets() {
    let test = BacklogTest::begin();
    let junk = resource("junk");
    test.writer("junk", 1_000, client(1)).await.unwrap();
    assert_eq!(test.backlog.claimed(), 1_000);
    test.backlog.skipped(&junk);
    assert_eq!(test.backlog.claimed(), 0);
    // The writer may be answered after its change was skipped.
    test.writer("junk", 1_000, client(1)).await.unwrap();
    assert_eq!(test.backlog.claimed(), 0);
    let permit = test.backlog.enter((&junk, 1), 1_000, client(1)).await;
    let update = Action::Update(Id::Integer(9), Default::default());
    let refused = Write { action: update, ..write(&junk, client(1)) };
    let engine = Arc::clone(&test.engine);
    assert!(permit.commit(&Environment::tokio(), engine, refused).await.is_err());
    assert_eq!(test.backlog.claimed(), 0);
}

#[tokio::test]
async fn estimate_falls_slowly_to_the_cost_of_the_last_changes() {
    let mut test = BacklogTest::begin();
    let junk = resource("junk");
    assert_eq!(test.backlog.estimate(&junk, 1_500), 1_500);
    let mut last = 1_500_usize;
    for _ in 0..100 {
        test.writer("junk", 1_500, client(1)).await.unwrap();
        assert!(test.send_next(1));
        let now = test.backlog.estimate(&junk, 1_500);
        assert!(now >= last - last.div_ceil(8) && now <= last);
        last = now;
    }
    assert_eq!(last, 1);
    test.backlog.sent(&test.writer("junk", 1_500, None).await.unwrap().change, 900, 0);
    assert_eq!(test.backlog.estimate(&junk, 1_500), 900);
    // A search counts as packets.
    let change = test.writer("junk", 1_500, None).await.unwrap().change;
    test.backlog.sent(&change, 0, 1_000 * BYTES_PER_PACKET);
    assert_eq!(test.backlog.estimate(&junk, 0), 1_000);
}

/// Clients write to resources of random costs, alone and several times with one permit. At each
/// moment, the changes that are committed and not sent cost no more than the limit, and those of
/// one client no more than its share, or they are the only ones.
#[tokio::test]
async fn unsent_packets_stay_below_the_limit_in_random_runs() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..10 {
        let mut test = BacklogTest::begin();
        let costs: [usize; 4] =
            std::array::from_fn(|_| random.random_range(MIN_PACKETS..=MAX_COUNTED));
        let mut tasks = JoinSet::new();
        for _ in 0..200 {
            let (kind, client) = (random.random_range(0..4), client(random.random_range(0..6)));
            let (name, cost) = (format!("junk{kind}"), costs[kind]);
            let writes = random.random_range(1..4);
            let (backlog, engine) = (Arc::clone(&test.backlog), Arc::clone(&test.engine));
            tasks.spawn(async move {
                let resource = resource(&name);
                let together = backlog.writes_per_permit(&resource, cost).min(writes);
                let permit = backlog.enter((&resource, together), cost, client).await;
                for _ in 0..together {
                    let write = write(&resource, client);
                    let permit = permit.clone();
                    let environment = Environment::tokio();
                    let commit = permit.commit(&environment, Arc::clone(&engine), write);
                    commit.await.unwrap();
                }
            });
        }
        let mut unsent: Vec<Arc<Change>> = Vec::new();
        while !tasks.is_empty() || !unsent.is_empty() {
            for _ in 0..random.random_range(1..20) {
                yield_now().await;
            }
            while tasks.try_join_next().is_some() {}
            while let Ok(change) = test.changes.try_recv() {
                unsent.push(change);
            }
            let cost_of = |change: &Change| {
                let name = change.resource.to_string();
                costs[name.strip_prefix("junk").unwrap().parse::<usize>().unwrap()]
            };
            let mut by_client: StdHashMap<_, (usize, usize)> = StdHashMap::new();
            for change in &unsent {
                let own = by_client.entry(change.origin.clone()).or_default();
                *own = (own.0 + cost_of(change), own.1 + 1);
            }
            let all: usize = by_client.values().map(|(packets, _)| packets).sum();
            assert!(all <= MAX_PACKETS, "{all}");
            assert!(by_client.values().all(|(packets, n)| *packets <= SHARE || *n == 1));
            if !unsent.is_empty() {
                let change = unsent.remove(0);
                test.backlog.sent(&change, cost_of(&change), 0);
            }
        }
        settle().await;
        assert_eq!(test.backlog.claimed(), 0);
    }
}

/// An engine may leave out changes that nobody follows, at any moment. All writers end, and nothing
/// stays claimed.
#[tokio::test]
async fn skipped_changes_keep_no_packets_in_random_runs() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..20 {
        let mut test = BacklogTest::begin();
        let mut tasks = JoinSet::new();
        for _ in 0..100 {
            let client = client(random.random_range(0..3));
            let name = ["junk0", "junk1"][random.random_range(0..2)];
            tasks.spawn(test.writer(name, random.random_range(MIN_PACKETS..5_000), client));
        }
        while !tasks.is_empty() || !test.changes.is_empty() {
            for _ in 0..random.random_range(1..20) {
                yield_now().await;
            }
            while tasks.try_join_next().is_some() {}
            match test.changes.try_recv() {
                Ok(change) if random.random_bool(0.5) => {
                    test.backlog.sent(&change, random.random_range(0..5_000), 0);
                }
                Ok(change) => test.backlog.skipped(&change.resource),
                Err(_) => {}
            }
        }
        settle().await;
        assert_eq!(test.backlog.claimed(), 0);
    }
}
