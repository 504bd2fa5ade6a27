//! Bugs that are planted to prove that the checks find them.
//!
//! Each breaks a promise in one place of the product, where `planted::has` names it. The seed is
//! one that finds it. If a change of the product or of the stories makes a seed miss its bug,
//! `cargo xtask simulate --find-planted` prints new ones.

use backwire_protocol::planted;

use crate::run::run;
use crate::story::Story;

/// The seeds within which each bug has to be found.
pub const MAX_SEEDS: u64 = 5_000;

/// The bugs, and a seed that finds each.
pub const BUGS: &[(&str, u64)] = &[
    ("acked-before-commit", 1),
    ("acks-refused-as-requests", 82),
    ("answer-moves-class-room", 6),
    ("batch-ack-clears-queue", 20),
    ("changed-part-resumed", 6),
    ("destroyed-record-stays", 28),
    ("dropped-push-not-noticed", 9),
    ("echo-not-held", 1),
    ("entering-record-pushed-as-update", 4),
    ("failed-query-not-repeated", 4),
    ("fanout-reverses-changes", 33),
    ("fanout-skips-change", 14),
    ("held-changes-not-delivered", 2),
    ("ids-of-messages-go-back", 37),
    ("indexed-filters-not-pushed", 1),
    ("keys-of-messages-ignored", 2),
    ("last-request-first", 12),
    ("leaving-record-not-pushed", 4),
    ("ledger-lost-at-restart", 4),
    ("ledger-off", 4),
    ("lost-room-not-read-again", 1),
    ("message-not-kept-for-away-device", 2),
    ("messages-not-acked", 2),
    ("missing-changes-before-push-ignored", 1),
    ("narrowed-records-not-pushed", 2627),
    ("narrowed-room-after-grant", 2),
    ("new-key-when-sent-again", 1),
    ("new-order-not-shown", 1),
    ("new-record-not-added", 2),
    ("order-not-read-again", 1),
    ("owner-not-set", 1),
    ("part-not-announced", 1),
    ("part-not-read-again", 1),
    ("position-of-filter-not-kept", 1801),
    ("position-of-list-after-read", 9),
    ("position-of-read-too-new", 4),
    ("pushes-in-unknown-room-dropped", 72),
    ("queues-lost-at-restart", 2),
    ("read-before-join", 801),
    ("record-that-left-stays", 4),
    ("records-of-others-writable", 12),
    ("refusal-taken-for-success", 201),
    ("removed-record-stays", 4),
    ("requests-not-sent-again", 1),
    ("resume-lacks-last-change", 1),
    ("resume-without-access-check", 2),
    ("resume-without-join", 6),
    ("resumed-changes-not-applied", 2),
    ("revocation-ignored", 188),
    ("rooms-not-resumed-after-reconnect", 1),
    ("single-records-not-pushed", 44),
    ("tail-skips-destroys", 16),
    ("truncated-log-resumed", 20),
];

/// Returns the promise that a run of a seed breaks with a bug.
pub fn violation(bug: &'static str, seed: u64) -> Option<String> {
    planted::plant(Some(bug));
    let outcome = run(&Story::of(seed), false);
    planted::plant(None);
    outcome.violation
}

/// Returns the first seed that finds a bug, and the promise that it breaks.
pub fn find(bug: &'static str) -> Option<(u64, String)> {
    (1..=MAX_SEEDS).find_map(|seed| Some((seed, violation(bug, seed)?)))
}
