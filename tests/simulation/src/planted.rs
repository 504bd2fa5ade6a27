//! Bugs that are planted to prove that the checks find them.
//!
//! Each breaks a guarantee in one place of the product, where `planted::has` names it. The seed is
//! one that finds it. If a change of the product or of the stories makes a seed miss its bug,
//! `cargo xtask simulate --find-planted` prints new ones.

use backwire_protocol::planted;

use crate::run::run;
use crate::story::Story;

/// The seeds within which each bug has to be found.
pub const MAX_SEEDS: u64 = 5_000;

/// The bugs, and a seed that finds each.
pub const BUGS: &[(&str, u64)] = &[
    ("acked-before-commit", 3),
    ("acks-refused-as-requests", 349),
    ("answer-moves-class-room", 6),
    ("batch-ack-clears-queue", 10),
    ("changed-part-resumed", 27),
    ("destroyed-record-stays", 21),
    ("devices-not-restored", 14),
    ("dropped-push-not-noticed", 1078),
    ("echo-not-held", 1),
    ("entering-record-pushed-as-update", 31),
    ("epoch-of-push-ignored", 14),
    ("failed-query-not-repeated", 15),
    ("fanout-reverses-changes", 31),
    ("fanout-skips-change", 5),
    ("held-changes-not-delivered", 12),
    ("ids-of-lost-records-given-again", 51),
    ("ids-of-messages-go-back", 31),
    ("indexed-filters-not-pushed", 4),
    ("keys-of-messages-ignored", 4),
    ("last-request-first", 9),
    ("leaving-record-not-pushed", 21),
    ("ledger-lost-at-restart", 6),
    ("ledger-off", 1),
    ("loss-not-announced", 4950),
    ("lost-position-resumed", 51),
    ("lost-room-not-read-again", 4),
    ("message-not-kept-for-away-device", 2),
    ("messages-not-acked", 4),
    ("missed-changes-ignored", 2005),
    ("missed-events-ignored", 14),
    ("missing-changes-before-push-ignored", 6),
    ("narrowed-records-not-pushed", 2458),
    ("narrowed-room-after-grant", 21),
    ("new-key-when-sent-again", 1),
    ("new-order-not-shown", 4),
    ("new-record-not-added", 2),
    ("order-not-read-again", 4),
    ("other-servers-not-asked", 4),
    ("owner-not-set", 2),
    ("part-not-announced", 6),
    ("part-not-read-again", 4),
    ("position-of-filter-not-kept", 1180),
    ("position-of-list-after-read", 18),
    ("position-of-read-too-new", 16),
    ("queues-lost-at-restart", 15),
    ("read-before-join", 36),
    ("record-that-left-stays", 21),
    ("records-of-others-writable", 18),
    ("refusal-taken-for-success", 90),
    ("removed-record-stays", 8),
    ("requests-not-sent-again", 1),
    ("resume-lacks-last-change", 5),
    ("resume-without-access-check", 21),
    ("resume-without-join", 4),
    ("resumed-changes-not-applied", 5),
    ("revocation-ignored", 6),
    ("rooms-not-resumed-after-reconnect", 2),
    ("single-records-not-pushed", 91),
    ("stored-messages-not-delivered", 17),
    ("tail-skips-destroys", 18),
    ("truncated-log-resumed", 16),
];

/// Returns the guarantee that a run of a seed breaks with a bug.
pub fn violation(bug: &'static str, seed: u64) -> Option<String> {
    planted::plant(Some(bug));
    let outcome = run(&Story::of(seed), false);
    planted::plant(None);
    outcome.violation
}

/// Returns the first seed that finds a bug, and the guarantee that it breaks.
pub fn find(bug: &'static str) -> Option<(u64, String)> {
    (1..=MAX_SEEDS).find_map(|seed| Some((seed, violation(bug, seed)?)))
}
