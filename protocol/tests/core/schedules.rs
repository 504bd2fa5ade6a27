//! Random schedules. Whatever the network and the server do, every request is finished once, every
//! write is committed at most once, the page never shows a record in an older state than before,
//! and in the end the page equals the server.

use std::collections::BTreeSet;

use crate::json::Json;
use crate::support::{Pair, Refusal};
use backwire_protocol::{Failure, Request, RequestKind, Token, Verb};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Debug, Clone)]
enum Act {
    Read,
    ReadOne(u64),
    Create,
    Update(u64),
    Destroy(u64),
    /// The page sends a write itself.
    Upload,
    /// The page restores a write that an earlier page made.
    Restore,
    /// The page aborts the request that it made this many requests ago.
    Abort(usize),
    Withdraw(usize),
    OtherCreates,
    OtherUpdates(u64),
    OtherDestroys(u64),
    /// Numbers of frames to the server, replies, pushes, and frames to the client.
    Steps(u8, u8, u8, u8),
    /// This many requests over HTTP reach the server, and this many responses reach the client.
    HttpSteps(u8, u8),
    Break,
    /// Attempts to connect fail from now on, or succeed again.
    Cut(bool),
    /// Requests over HTTP fail from now on, or reach the server again.
    CutHttp(bool),
    /// The server handles requests over HTTP, and its responses are lost.
    LoseAnswers,
    /// Neither transport works, for so long that all reads fail.
    Outage,
    /// Nothing passes over the open connection any more, and nobody notices.
    Silence,
    /// Time passes, and no timer fires.
    Sleep(u32),
    Wake,
    Park,
    Disconnect,
    Connect,
    /// The server refuses connections for good, or the page reports that it does.
    RefuseConnections,
    RefusedElsewhere,
    Authenticate,
    Truncate,
    /// The server comes back with another log.
    LoseLog,
    /// The server restarts, as it is or with its last backup.
    Restart,
    BackUp,
    RestoreBackup,
    /// The server answers the next write with this status.
    Refuse(u16, Option<u32>),
    /// The server answers the next resume with 429.
    RefuseResume,
    Wait(u16),
}

fn act() -> impl Strategy<Value = Act> {
    use Act::*;
    let status = prop::sample::select(vec![400, 401, 403, 408, 422, 425, 429, 429, 500, 503]);
    let http = prop_oneof![
        4 => (0..4u8, 0..4u8).prop_map(|(up, down)| HttpSteps(up, down)),
        2 => any::<bool>().prop_map(Cut),
        2 => any::<bool>().prop_map(CutHttp),
        1 => Just(LoseAnswers),
        1 => Just(Outage),
        2 => Just(Silence),
        1 => (0..100_000u32).prop_map(Sleep),
        4 => Just(Wake),
        1 => Just(Park),
        1 => Just(Disconnect),
        2 => Just(Connect),
        1 => Just(RefuseConnections),
        1 => Just(RefuseResume),
        1 => Just(RefusedElsewhere),
        1 => Just(Authenticate),
        1 => (0..6usize).prop_map(Abort),
        1 => (0..6usize).prop_map(Withdraw),
        2 => Just(Upload),
        1 => Just(Restore),
        2 => (status, prop::option::of(0..40u32)).prop_map(|(status, after)| Refuse(status, after)),
    ];
    let others = prop_oneof![
        2 => Just(OtherCreates),
        4 => (1..6u64).prop_map(OtherUpdates),
        1 => (1..6u64).prop_map(OtherDestroys),
    ];
    prop_oneof![
        2 => Just(Read),
        1 => (1..6u64).prop_map(ReadOne),
        3 => Just(Create),
        4 => (1..6u64).prop_map(Update),
        1 => (1..6u64).prop_map(Destroy),
        7 => others,
        12 => (0..4u8, 0..4u8, 0..4u8, 0..4u8).prop_map(|(a, b, c, d)| Steps(a, b, c, d)),
        8 => http,
        1 => Just(Break),
        1 => Just(Truncate),
        1 => Just(LoseLog),
        3 => Just(Restart),
        1 => Just(BackUp),
        1 => Just(RestoreBackup),
        2 => (0..5_000u16).prop_map(Wait),
    ]
}

/// A page, its server, and the requests whose outcomes are checked.
struct Run {
    pair: Pair,
    reads: Vec<Token>,
    writes: Vec<Token>,
    /// Requests that were aborted or withdrawn before they were finished.
    given_up: BTreeSet<Token>,
    /// Requests that were withdrawn, so the server must never get them.
    withdrawn: BTreeSet<Token>,
    has_written: bool,
    /// The server has lost writes that it had answered.
    is_restored: bool,
    count: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut run = Self {
            pair: Pair::new(seed),
            reads: Vec::new(),
            writes: Vec::new(),
            given_up: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            has_written: false,
            is_restored: false,
            count: 0,
        };
        run.pair.client.connect(run.pair.instant());
        run.read("/todo");
        run
    }

    fn read(&mut self, url: &str) {
        self.reads.push(self.pair.ask(Verb::Get, url, Value::Null));
    }

    fn write(&mut self, verb: Verb, url: &str, kind: RequestKind) {
        self.has_written |= kind != RequestKind::Restored;
        let data = (verb != Verb::Delete).then(|| json!({"title": self.count}));
        let key = (kind == RequestKind::Restored).then(|| format!("former-{}", self.count));
        let token = match kind {
            RequestKind::External => self.pair.ask_external(verb, url, data.unwrap_or_default()),
            _ => {
                let body = data.map(Json);
                self.pair.send(Request { body, key, kind, ..Request::new(verb, url) })
            }
        };
        self.writes.push(token);
    }

    /// Returns the request that was made this many requests ago, if it is not finished.
    fn unfinished(&self, ago: usize) -> Option<Token> {
        let mut tokens = [self.reads.clone(), self.writes.clone()].concat();
        tokens.sort_unstable();
        let token = *tokens.get(tokens.len().checked_sub(ago + 1)?)?;
        (self.pair.result(token).is_none() && !self.given_up.contains(&token)).then_some(token)
    }

    fn perform(&mut self, act: &Act) {
        self.count += 1;
        let url = |id: &u64| format!("/todo/{id}");
        match act {
            Act::Read => self.read("/todo"),
            Act::ReadOne(id) => self.read(&url(id)),
            Act::Create => self.write(Verb::Post, "/todo", RequestKind::New),
            // A page cannot name a record that it has never received.
            Act::Update(id) | Act::Destroy(id) if !self.pair.app.shown.contains_key(id) => {}
            Act::Update(id) => self.write(Verb::Put, &url(id), RequestKind::New),
            Act::Destroy(id) => self.write(Verb::Delete, &url(id), RequestKind::New),
            Act::Upload => self.write(Verb::Post, "/todo", RequestKind::External),
            // A page restores stored writes before it makes a new one.
            Act::Restore if self.has_written => {}
            Act::Restore => self.write(Verb::Post, "/todo", RequestKind::Restored),
            Act::Abort(ago) | Act::Withdraw(ago) => self.give_up(act, *ago),
            _ => self.happen(act),
        }
        self.pair.carry_out();
    }

    fn give_up(&mut self, act: &Act, ago: usize) {
        let Some(token) = self.unfinished(ago) else { return };
        if let Act::Abort(_) = act {
            self.pair.client.abort(token);
            self.given_up.insert(token);
        } else if self.pair.client.withdraw(token) {
            self.given_up.insert(token);
            self.withdrawn.insert(token);
        }
    }

    /// Performs an action of other clients, the server or the network.
    fn happen(&mut self, act: &Act) {
        let (pair, data) = (&mut self.pair, json!({"title": self.count}));
        match act {
            Act::OtherCreates => pair.server.write(1, None, &data),
            Act::OtherUpdates(id) => pair.server.write(2, Some(*id), &data),
            Act::OtherDestroys(id) => pair.server.write(3, Some(*id), &data),
            Act::Steps(up, replies, pushes, down) => {
                times(*up, || pair.step_up());
                // The server may send the reply to a write before or after its push.
                if up > pushes {
                    times(*replies, || pair.step_reply());
                    pair.step_push(usize::from(*pushes));
                } else {
                    pair.step_push(usize::from(*pushes));
                    times(*replies, || pair.step_reply());
                }
                times(*down, || pair.step_down());
            }
            Act::HttpSteps(up, down) => {
                times(*up, || pair.step_http());
                times(*down, || pair.step_http_answer());
            }
            Act::Break => pair.break_line(),
            Act::Cut(true) => pair.cut_link(),
            Act::Cut(false) => pair.is_cut = false,
            Act::CutHttp(is_cut) => pair.is_http_cut = *is_cut,
            Act::LoseAnswers => {
                times(3, || pair.step_http());
                pair.lose_http_answers();
            }
            Act::Outage => self.outage(),
            Act::Silence => pair.silence(),
            Act::Sleep(milliseconds) => pair.now += u64::from(*milliseconds),
            Act::Wake => pair.client.wake(pair.instant()),
            Act::Park => pair.client.park(pair.instant()),
            Act::Disconnect => pair.client.disconnect(pair.instant()),
            Act::Connect => {
                pair.server.refuses = None;
                pair.client.connect(pair.instant());
            }
            Act::RefuseConnections => {
                pair.server.refuses = Some("E_TOKEN: it has expired".into());
                pair.break_line();
            }
            Act::RefusedElsewhere => {
                pair.client.refuse(pair.instant(), "E_ORIGIN: not from here".into());
            }
            Act::Authenticate => pair.client.authenticate(pair.instant(), r#"{"token":"b"}"#),
            Act::Truncate => pair.server.truncate(),
            Act::LoseLog | Act::Restart | Act::RestoreBackup => {
                pair.break_line();
                pair.lose_http_answers();
                match act {
                    Act::LoseLog => pair.server.lose_log(),
                    Act::RestoreBackup if pair.server.restore() => {
                        self.is_restored = true;
                        pair.app.is_between_logs = true;
                    }
                    _ => pair.server.restart(),
                }
            }
            Act::BackUp => pair.server.back_up(),
            Act::Refuse(status, retry_after) => {
                let (status, retry_after) = (*status, *retry_after);
                pair.server.refusals.push_back(Refusal { status, retry_after });
            }
            Act::RefuseResume => pair.server.refused_resumes += 1,
            Act::Wait(milliseconds) => pair.wait(u64::from(*milliseconds)),
            act => unreachable!("{act:?} is an action of the page"),
        }
    }

    /// Checks that no read waits forever while the server is unreachable and the page is
    /// connecting.
    fn outage(&mut self) {
        self.pair.cut();
        self.pair.client.connect(self.pair.instant());
        self.pair.wait(3_100);
        for token in &self.reads {
            let is_over = self.pair.result(*token).is_some() || self.given_up.contains(token);
            assert!(is_over, "{token:?} still waits");
        }
    }

    /// Restores everything and waits until all requests are finished.
    fn end(&mut self) {
        self.pair.server.refuses = None;
        self.pair.repair();
        for _ in 0..100 {
            self.pair.client.connect(self.pair.instant());
            self.pair.client.authenticate(self.pair.instant(), r#"{"token":"c"}"#);
            self.pair.carry_out();
            self.pair.wait(60_000);
            let is_over =
                |token: &Token| self.pair.result(*token).is_some() || self.given_up.contains(token);
            if self.reads.iter().chain(&self.writes).all(is_over) {
                break;
            }
        }
        if !self.pair.app.is_live {
            self.read("/todo");
            self.pair.wait(1_000);
        }
    }

    fn check(&self, is_refusing: bool) -> Result<(), TestCaseError> {
        let Self { pair, .. } = self;
        for token in self.reads.iter().chain(&self.writes) {
            let times = pair.app.results.iter().filter(|(of, _)| of == token).count();
            let expected = usize::from(!self.given_up.contains(token));
            prop_assert_eq!(times, expected, "{:?} was finished {} times", token, times);
        }
        for token in &self.reads {
            let is_unreachable = pair.result(*token) == Some(&Err(Failure::Unreachable));
            prop_assert!(is_unreachable || !matches!(pair.result(*token), Some(Err(_))));
            prop_assert!(!pair.app.waited.contains(token));
        }
        for token in &self.writes {
            let by = token.0.to_string();
            let times = pair.server.committed_by.iter().filter(|of| **of == by).count();
            prop_assert!(
                times <= 1 || self.is_restored,
                "{:?} was committed {} times",
                token,
                times
            );
            if pair.status_of(*token) == Some(200) {
                prop_assert!(times >= 1, "{:?} was answered but not committed", token);
            }
            prop_assert!(times == 0 || !self.withdrawn.contains(token));
        }
        if !is_refusing && !self.is_restored {
            let committed: Vec<u32> =
                pair.server.committed_by.iter().map(|by| by.parse().expect("a token")).collect();
            prop_assert!(committed.is_sorted(), "out of order: {:?}", committed);
        }
        prop_assert_eq!(&pair.app.shown, &pair.server.records);
        prop_assert_eq!(pair.client.status().unsent, 0);
        Ok(())
    }
}

fn times(count: u8, mut step: impl FnMut() -> bool) {
    for _ in 0..count {
        step();
    }
}

#[test]
fn refused_write_and_the_write_behind_it_are_repeated_safely() {
    use Act::{Break, Create, Destroy, OtherCreates, Read, Refuse, Steps, Update, Wait};
    let mut acts = vec![Read, Read, Create, Wait(0), OtherCreates, OtherCreates];
    acts.extend([Read, Read, Read, Read, Read, Steps(1, 0, 0, 0), Steps(2, 0, 0, 0), Destroy(1)]);
    let busy = Refuse(429, None);
    acts.extend([busy, Steps(3, 0, 0, 0), Update(1), Steps(1, 0, 0, 0), Break, Wait(0)]);
    ends_equal(0, &acts).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        // For a long run, set `PROPTEST_CASES=100000`.
        cases: ProptestConfig::default().cases * 2,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn page_ends_equal_to_the_server_whatever_the_network_does(
        seed: u64,
        acts in prop::collection::vec(act(), 1..80),
    ) {
        ends_equal(seed, &acts)?;
    }

    #[test]
    fn page_reads_nothing_again_while_the_log_is_kept(
        seed: u64,
        acts in prop::collection::vec(act().prop_filter("it keeps the log", keeps_log), 1..80),
    ) {
        let mut run = Run::new(seed);
        // An answer over HTTP does not show of which log it is.
        run.pair.is_http_cut = true;
        acts.iter().for_each(|act| run.perform(act));
        run.pair.repair_link();
        prop_assert_eq!(run.pair.app.refreshes, 0);
    }
}

/// Returns whether the log of the server keeps all positions, and HTTP remains cut.
fn keeps_log(act: &Act) -> bool {
    use Act::{CutHttp, LoseLog, RestoreBackup, Truncate};
    !matches!(act, CutHttp(_) | LoseLog | RestoreBackup | Truncate)
}

fn ends_equal(seed: u64, acts: &[Act]) -> Result<(), TestCaseError> {
    let mut run = Run::new(seed);
    acts.iter().for_each(|act| run.perform(act));
    run.end();
    // A write that is refused and sent again is committed after writes that were in flight behind
    // it. Writes that the page sends itself keep no order.
    let is_refusing = acts.iter().any(|act| matches!(act, Act::Refuse(..) | Act::Upload));
    run.check(is_refusing)
}
