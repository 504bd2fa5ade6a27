//! Stories: what pages, people, the network and the server do in a run, as data. A seed decides the
//! whole story, and a story can be shortened.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use backwire_checker::act::{PageAct, read, unusual, write};
use backwire_checker::people::PEOPLE;

/// A run of the simulation.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) seed: u64,
    /// The person who uses each page, as an index of [`PEOPLE`].
    pub(crate) pages: Vec<usize>,
    /// The number of changes that the log of a resource keeps.
    pub(crate) log_count: u64,
    /// The requests that a connection may have in flight.
    pub(crate) in_flight: usize,
    /// The packets that may wait for a client.
    pub(crate) unread_packets: usize,
    /// The maximum time of a step of the disk, or of a packet to the store, in milliseconds.
    pub(crate) disk_latency: u64,
    /// The number of servers. Several share a store.
    pub(crate) servers: usize,
    pub(crate) steps: Vec<Step>,
}

/// An action after a pause, in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) pause: u64,
    pub(crate) act: Act,
}

#[derive(Debug, Clone)]
pub(crate) enum Act {
    Page(usize, PageAct),
    /// The connection of a page ends.
    Cut(usize),
    /// Nothing arrives over the connection of a page any more, but neither end is notified.
    Silence(usize),
    /// The page reads slowly for this many milliseconds.
    Stall(usize, u64),
    /// The page cannot reach the servers, or can again.
    Offline(usize, bool),
    Crash(usize),
    Start(usize),
    /// A server ends its connections one after the other, and starts again.
    Restart(usize),
    /// The process of a server is paused for this many milliseconds.
    Pause(usize, u64),
    /// The disk of the server, or the store of all servers, fails for this many milliseconds.
    StorageFails(u64),
    /// A server cannot reach the store for this many milliseconds.
    CutStore(usize, u64),
    /// A replica of the store receives nothing any more, and replaces the store after `lag`
    /// milliseconds. It is not reachable for `time` milliseconds.
    FailOver {
        lag: u64,
        time: u64,
    },
    /// The wall clock of all machines is set ahead or back, by this many milliseconds.
    SetClock(i64),
    /// The back end sends messages to a person.
    Messages {
        person: usize,
        count: usize,
    },
    /// A person becomes an editor, or is no longer one.
    SetEditor(usize, bool),
}

impl Story {
    /// Whether the writes of each page are committed in the order of the calls. The order may
    /// differ if the server refuses a write and accepts its repeat after later writes: because
    /// there are fewer requests, the person has another role, or the storage works again.
    pub(crate) fn keeps_order(&self) -> bool {
        let can_refuse_writes = |step: &Step| {
            matches!(
                step.act,
                Act::SetEditor(..)
                    | Act::StorageFails(_)
                    | Act::CutStore(..)
                    | Act::Pause(..)
                    | Act::FailOver { .. }
            )
        };
        self.in_flight >= 100 && !self.steps.iter().any(can_refuse_writes)
    }

    /// Returns the story of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x5eed);
        let pages = (0..random.random_range(2..=4)).map(|_| random.random_range(0..3)).collect();
        let log_count = *[3, 12, 1000].choose(&mut random).expect("there are some");
        let in_flight = *[3, 100, 100, 100].choose(&mut random).expect("there are some");
        let unread_packets = *[4, 64, 64].choose(&mut random).expect("there are some");
        let disk_latency = *[4, 4, 40, 150].choose(&mut random).expect("there are some");
        let servers = *[1, 1, 2, 3].choose(&mut random).expect("there are some");
        let mut story = Self {
            seed,
            pages,
            log_count,
            in_flight,
            unread_packets,
            disk_latency,
            servers,
            steps: Vec::new(),
        };
        let count = random.random_range(10..70);
        for page in 0..story.pages.len() {
            let act = Act::Page(page, read(&mut random));
            story.steps.push(Step { pause: 0, act });
        }
        for _ in 0..count {
            let act = story.act(&mut random);
            // Many things happen at once, and sometimes much time passes.
            let pause = match random.random_range(0..20) {
                0..8 => 0,
                8..15 => random.random_range(0..60),
                15..19 => random.random_range(0..3_000),
                _ => random.random_range(0..60_000),
            };
            story.steps.push(Step { pause, act });
        }
        // Some stories end with changes in a critical moment. After the last changes, no later one
        // reveals to a page that it has missed some.
        match random.random_range(0..4) {
            0 => story.read_among_changes(&mut random),
            1 if story.servers > 1 => story.change_while_a_server_is_cut_off(&mut random),
            _ => {}
        }
        // These have random numbers of their own, so that the rest of a story stays as it was.
        let mut random = StdRng::seed_from_u64(seed ^ 0xfa11);
        if story.servers > 1 && random.random_range(0..4) == 0 {
            for _ in 0..random.random_range(1..=2) {
                story.add_failover(&mut random);
            }
        }
        story
    }

    /// Adds a failover, and changes just before it. The replica has not received these.
    fn add_failover(&mut self, random: &mut StdRng) {
        let lag = *[50, 500, 10_000].choose(random).expect("there are some");
        let lag = random.random_range(0..lag);
        let later = self.steps.split_off(random.random_range(self.pages.len()..=self.steps.len()));
        let act = Act::FailOver { lag, time: random.random_range(0..8_000) };
        self.steps.push(Step { pause: 0, act });
        for _ in 0..random.random_range(0..3) {
            self.add_changes(random, lag / 3);
        }
        self.steps.extend(later);
    }

    /// Adds the reload of a page, and changes at the same time as its first reads.
    fn read_among_changes(&mut self, random: &mut StdRng) {
        let page = random.random_range(0..self.pages.len());
        self.add(0, page, PageAct::Reload);
        self.add(random.random_range(0..100), page, read(random));
        for _ in 0..random.random_range(0..4) {
            self.add(0, page, read(random));
        }
        self.add_changes(random, self.disk_latency);
    }

    /// Adds changes while a server cannot reach the store. When it can again, the log may have only
    /// the last of them.
    fn change_while_a_server_is_cut_off(&mut self, random: &mut StdRng) {
        let server = random.random_range(0..self.servers);
        let act = Act::CutStore(server, random.random_range(2_000..10_000));
        self.steps.push(Step { pause: 0, act });
        for _ in 0..4 {
            self.add_changes(random, 400);
        }
    }

    fn add_changes(&mut self, random: &mut StdRng, max_pause: u64) {
        for _ in 0..random.random_range(0..3) {
            let page = random.random_range(0..self.pages.len());
            self.add(random.random_range(0..=max_pause), page, write(random));
        }
    }

    fn add(&mut self, pause: u64, page: usize, act: PageAct) {
        self.steps.push(Step { pause, act: Act::Page(page, act) });
    }

    fn act(&self, random: &mut StdRng) -> Act {
        let page = random.random_range(0..self.pages.len());
        let server = random.random_range(0..self.servers);
        match random.random_range(0..100) {
            0..48 => Act::Page(page, write(random)),
            48..62 => Act::Page(page, read(random)),
            62..64 => Act::Page(page, PageAct::Stop(random.random_range(0..3))),
            64..70 => Act::Cut(page),
            70..73 => Act::Silence(page),
            73..75 => Act::Stall(page, random.random_range(0..20_000)),
            75..79 => Act::Offline(page, random.random()),
            79..82 => Act::Crash(server),
            82..86 => Act::Start(server),
            86..90 => Act::Messages {
                person: random.random_range(0..PEOPLE.len()),
                count: random.random_range(1..5),
            },
            90..92 => Act::SetEditor(random.random_range(0..PEOPLE.len()), random.random()),
            92 => Act::SetClock(random.random_range(-90_000..90_000)),
            93 => Act::Restart(server),
            94 => Act::StorageFails(random.random_range(0..5_000)),
            95 if self.servers > 1 => Act::Pause(server, random.random_range(0..60_000)),
            96..98 if self.servers > 1 => Act::CutStore(server, random.random_range(0..60_000)),
            _ => Act::Page(page, unusual(random)),
        }
    }
}
