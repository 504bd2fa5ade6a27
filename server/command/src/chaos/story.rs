//! The history of a record: its changes in the log, and the states that clients have shown.

use std::fmt;

use backwire_checker::observations::{Observations, Seen};
use backwire_checker::view::Kind;
use backwire_records::change::{Change, Id, Verb};
use serde_json::Value;

use super::deployment::Deployment;

/// How many clients are named for each state of a record.
const MAX_NAMED: usize = 4;

/// An event in the history of a record.
pub(super) struct Event {
    /// The first and the last offset in the log to which the event belongs.
    offsets: (u64, u64),
    pub(super) text: String,
    /// A client has shown a state that the record did not have.
    pub(super) is_wrong: bool,
}

impl Event {
    pub(super) fn offsets(&self) -> String {
        match self.offsets {
            (first, last) if first == last => format!("at {first}"),
            (first, last) => format!("at {first} to {last}"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<14} {}", self.offsets(), self.text)
    }
}

/// Returns the history of a record: its changes; how often clients have shown the state after each
/// change; and each wrong state, with the clients that have shown it.
pub(super) fn of(
    deployment: &Deployment,
    observations: Option<&Observations>,
    kind: Kind,
    id: &Id,
) -> Vec<Event> {
    let mut changes = deployment.history.changes();
    changes.retain(|change| change.id == *id);
    let mut changes = changes.iter().peekable();
    let mut story = Vec::new();
    // The correct states since the last event: their first and last offset, and how often clients
    // have shown them.
    let mut correct: Option<((u64, u64), u64)> = None;
    for (offset, record, count, seen) in observations.iter().flat_map(|it| it.of_record(kind, id)) {
        while let Some(change) = changes.next_if(|it| it.position.offset <= offset) {
            story.extend(correct.take().map(shown_correctly));
            story.push(change_event(deployment, change));
        }
        if deployment.history.record_at(kind, id, offset).as_deref() == Some(record) {
            let ((first, _), before) = correct.unwrap_or(((offset, offset), 0));
            correct = Some(((first, offset), before + count));
            continue;
        }
        story.extend(correct.take().map(shown_correctly));
        let clients = names(deployment, seen, count);
        let text = format!("shown as {} by {clients}", Value::Object(record.clone()));
        story.push(Event { offsets: (offset, offset), text, is_wrong: true });
    }
    story.extend(correct.map(shown_correctly));
    story.extend(changes.map(|change| change_event(deployment, change)));
    story
}

fn shown_correctly((offsets, count): ((u64, u64), u64)) -> Event {
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    Event { offsets, text: format!("shown correctly, {times}"), is_wrong: false }
}

fn change_event(deployment: &Deployment, change: &Change) -> Event {
    let offset = change.position.offset;
    let writer = deployment.writes.key(change.mark);
    let writer = writer.map(|key| deployment.with_short_names(&key));
    let writer = writer.unwrap_or_else(|| "an unknown writer".to_owned());
    let text = match change.verb {
        Verb::Create => format!("created by {writer}: {}", Value::Object(change.set.clone())),
        Verb::Update => format!("updated by {writer}: {}", Value::Object(change.set.clone())),
        Verb::Destroy => format!("destroyed by {writer}"),
    };
    Event { offsets: (offset, offset), text, is_wrong: false }
}

fn names(deployment: &Deployment, seen: &[Seen], count: u64) -> String {
    let name = |Seen { client, time }: &Seen| {
        format!("{} ({time} ms)", deployment.with_short_names(client))
    };
    let named: Vec<_> = seen.iter().take(MAX_NAMED).map(name).collect();
    let more = (count as usize).saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more times") } else { String::new() };
    format!("{}{more}", named.join(", "))
}
