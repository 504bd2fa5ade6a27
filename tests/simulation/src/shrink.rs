//! Finds a short story that still breaks a guarantee.

use crate::run::{Outcome, run};
use crate::story::Story;

/// The runs that the search may take.
const MAX_RUNS: usize = 600;

/// A short story.
#[derive(Debug)]
pub struct Shortened {
    /// Its steps, a line each.
    pub steps: Vec<String>,
    /// The outcome of the story, with its trace.
    pub outcome: Outcome,
}

/// Leaves out steps of a seed's story as long as it breaks a guarantee. Returns `None` if the story
/// breaks none.
pub fn shorten(seed: u64) -> Option<Shortened> {
    let mut story = Story::of(seed);
    run(&story, false).violation?;
    let mut runs = 0;
    let mut size = story.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let mut is_shorter = false;
        while at < story.steps.len() && runs < MAX_RUNS {
            let mut shorter = story.clone();
            shorter.steps.drain(at..(at + size).min(story.steps.len()));
            runs += 1;
            if run(&shorter, false).violation.is_some() {
                story = shorter;
                is_shorter = true;
            } else {
                at += size;
            }
        }
        size = if is_shorter && size == 1 && runs < MAX_RUNS { 1 } else { size / 2 };
    }
    let steps = story.steps.iter().map(|step| format!("{:>6} ms  {:?}", step.pause, step.act));
    Some(Shortened { steps: steps.collect(), outcome: run(&story, true) })
}
