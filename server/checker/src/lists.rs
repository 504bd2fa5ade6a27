//! Checks what the lists of pages show.

use std::collections::BTreeSet;

use backwire_records::change::Id;

use crate::browser::Report;
use crate::history::History;
use crate::view::{Selection, View};
use crate::world::Checks;

/// Checks that each list of a page shows what a read would return now.
pub fn check_views(checks: &Checks, report: &Report) {
    wrong_lists(checks, report).into_iter().for_each(|message| checks.history.violated(message));
}

/// Checks that each record that a page shows is as a read would return it now.
pub fn check_records(checks: &Checks, report: &Report) {
    let history = &checks.history;
    for (kind, id, record) in &report.records {
        if history.record_at(*kind, id, history.head(*kind)).as_deref() != record.as_ref() {
            let (name, kind_name) = (&report.name, history.names().of(*kind));
            let message =
                format!("{name}: {kind_name}/{id} is shown as {record:?}, which is not new");
            history.violated_for(*kind, id, message);
        }
    }
}

/// Returns a message for each list of a page that does not show what a read would return now.
pub fn wrong_lists(checks: &Checks, report: &Report) -> Vec<String> {
    let person = checks.people.current(&report.person);
    let history: &History = &checks.history;
    let mut wrong = Vec::new();
    for (target, shown, views) in &report.targets {
        let mut expected = Vec::new();
        for view in views {
            let read = history.read_now(view, &person);
            for (id, _) in read {
                if !expected.contains(&id) {
                    expected.push(id);
                }
            }
        }
        let is_right = match &views[..] {
            [one] if is_ordered(one) => *shown == expected,
            _ => {
                let set = |ids: &[Id]| ids.iter().cloned().collect::<BTreeSet<_>>();
                shown.len() == expected.len() && set(shown) == set(&expected)
            }
        };
        if !is_right {
            let views: Vec<_> = views.iter().map(|view| view.url(history.names())).collect();
            wrong.push(format!(
                "{}: target {target} shows {shown:?}, but {views:?} has {expected:?}",
                report.name
            ));
        }
    }
    wrong
}

/// Whether the order of a list is that of the server.
fn is_ordered(view: &View) -> bool {
    let Selection::List { is_sorted, window, .. } = view.selection else { return false };
    is_sorted || window.is_some()
}
