//! The history of a record: its changes in the log, and what clients have shown of it.

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
    /// The first and the last offset.
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

/// Returns the changes of a record, how often it was shown as it was after each of them, and who
/// has shown which other state.
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
    // The states since the last event that were right: their offsets, and how often each was shown.
    let mut right: Option<((u64, u64), u64)> = None;
    for (offset, record, count, seen) in observations.iter().flat_map(|it| it.of_record(kind, id)) {
        while let Some(change) = changes.next_if(|it| it.position.offset <= offset) {
            story.extend(right.take().map(shown_rightly));
            story.push(changed(deployment, change));
        }
        if deployment.history.record_at(kind, id, offset).as_deref() == Some(record) {
            let ((first, _), before) = right.unwrap_or(((offset, offset), 0));
            right = Some(((first, offset), before + count));
            continue;
        }
        story.extend(right.take().map(shown_rightly));
        let who = names(deployment, seen, count);
        let text = format!("shown as {} by {who}", Value::Object(record.clone()));
        story.push(Event { offsets: (offset, offset), text, is_wrong: true });
    }
    story.extend(right.map(shown_rightly));
    story.extend(changes.map(|change| changed(deployment, change)));
    story
}

fn shown_rightly((offsets, count): ((u64, u64), u64)) -> Event {
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    Event { offsets, text: format!("shown as it was, {times}"), is_wrong: false }
}

fn changed(deployment: &Deployment, change: &Change) -> Event {
    let offset = change.position.offset;
    let writer = deployment.writes.key(change.mark);
    let writer = writer.map(|key| deployment.with_short_names(&key));
    let writer = writer.unwrap_or_else(|| "somebody else".to_owned());
    let text = match change.verb {
        Verb::Create => format!("created by {writer}: {}", Value::Object(change.set.clone())),
        Verb::Update => format!("updated by {writer}: {}", Value::Object(change.set.clone())),
        Verb::Destroy => format!("destroyed by {writer}"),
    };
    Event { offsets: (offset, offset), text, is_wrong: false }
}

fn names(deployment: &Deployment, seen: &[Seen], count: u64) -> String {
    let name =
        |Seen { who, time }: &Seen| format!("{} ({time} ms)", deployment.with_short_names(who));
    let named: Vec<_> = seen.iter().take(MAX_NAMED).map(name).collect();
    let more = (count as usize).saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more times") } else { String::new() };
    format!("{}{more}", named.join(", "))
}
