//! The changes of a push, together and one by one.

use backwire_protocol::live::{Answer, Output, Queries};
use backwire_protocol::wire::ChangeVerb;
use proptest::collection::vec;
use proptest::prelude::*;

const ROOMS: [&str; 3] = ["todo", "todo?a", "todo/1"];
const NAMES: [&str; 3] = ["", "m", "n\0m"];

/// The room and the description of the queries of targets 1, 2, …
const QUERIES: [(&str, &str); 7] = [
    ("todo", "whole"),
    ("todo", "whole;sort=m"),
    ("todo", "whole"),
    ("todo?a", "filter"),
    ("todo?a", "filter;sort=n"),
    ("todo", "part"),
    ("todo/1", "one"),
];

/// Queries that have read two records each.
fn read() -> Queries {
    let mut queries = Queries::new();
    for (number, (room, description)) in (1..).zip(QUERIES) {
        let ids = if description == "one" { "1" } else { "1\x002" };
        let answer = Answer { room, description, ids, changed: "" };
        queries.read(100 + number, number, true, false, answer);
    }
    queries
}

fn outputs(queries: &mut Queries) -> Vec<Output> {
    std::iter::from_fn(|| queries.poll()).collect()
}

proptest! {
    #[test]
    fn changes_of_a_push_have_the_same_effect_together_and_one_by_one(
        pushes in vec((0..3_usize, vec((0..4_usize, 1..7_u8, 0..3_usize), 1..12)), 1..6),
        reading in any::<bool>(),
    ) {
        let (mut together, mut single) = (read(), read());
        for queries in [&mut together, &mut single] {
            outputs(queries);
            if reading {
                queries.begin_read(2);
            }
        }
        for (room, changes) in pushes {
            let changes: Vec<_> = changes
                .into_iter()
                .map(|(verb, id, names)| (ChangeVerb::ALL[verb], id.to_string(), NAMES[names]))
                .collect();
            let mut batch = together.batch(ROOMS[room]);
            for (verb, id, names) in &changes {
                batch.add(*verb, id, names);
            }
            batch.end();
            for (verb, id, names) in &changes {
                single.changed(ROOMS[room], *verb, id, names);
            }
            prop_assert_eq!(outputs(&mut together), outputs(&mut single));
        }
    }
}
