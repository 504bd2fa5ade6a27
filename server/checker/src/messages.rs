//! The messages of the back end, and the pages that have received them.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::history::History;

#[derive(Debug, Default)]
pub struct Messages(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// For each person the messages, in the order in which the back end sent them.
    sent: BTreeMap<String, Vec<u64>>,
    last: u64,
    devices: BTreeMap<String, Device>,
    /// The messages that the store has lost. One that was not answered may be stored again.
    lost: BTreeSet<u64>,
    /// Those among them that were not stored again.
    missing: BTreeSet<u64>,
}

/// A device of a person.
#[derive(Debug)]
struct Device {
    person: String,
    /// Only messages after this one have to arrive.
    connected_after: u64,
    /// Whether a page of it has been connected.
    has_connected: bool,
    /// Whether the store has lost it, and has not recorded it again.
    is_lost: bool,
    /// Whether the person uses it.
    is_in_use: bool,
    /// The messages that each page of the device has received, in order.
    pages: Vec<Vec<Option<u64>>>,
}

impl Device {
    /// From now on, the messages after this one have to arrive, if the device is connected.
    fn expect_after(&mut self, number: u64) {
        if self.has_connected && !self.is_lost {
            self.connected_after = self.connected_after.min(number);
        }
    }
}

impl Messages {
    /// Begins a message to a person, and returns its number.
    pub fn send(&self, person: &str) -> u64 {
        let mut state = self.0.lock();
        state.last += 1;
        let number = state.last;
        state.sent.entry(person.to_owned()).or_default().push(number);
        number
    }

    /// Begins a page of a device.
    pub fn loaded(&self, device: &str, person: &str) {
        let mut state = self.0.lock();
        let device = state.devices.entry(device.to_owned()).or_insert_with(|| Device {
            person: person.to_owned(),
            connected_after: u64::MAX,
            has_connected: false,
            is_lost: false,
            is_in_use: true,
            pages: Vec::new(),
        });
        device.is_in_use = true;
        device.pages.push(Vec::new());
    }

    /// Records that the person of a device has signed out.
    pub fn signed_out(&self, device: &str) {
        let mut state = self.0.lock();
        if let Some(device) = state.devices.get_mut(device) {
            device.is_in_use = false;
        }
    }

    /// Records that a device has been connected. It is to get all messages that begin from now on,
    /// if the store has not lost it since.
    pub fn connected(&self, device: &str) {
        let mut state = self.0.lock();
        let last = state.last;
        if let Some(device) = state.devices.get_mut(device) {
            device.has_connected = true;
            device.expect_after(last);
        }
    }

    /// Records that the store has recorded a device again, which it had lost.
    pub fn recorded(&self, device: &str) {
        let mut state = self.0.lock();
        let last = state.last;
        if let Some(device) = state.devices.get_mut(device) {
            device.is_lost = false;
            device.expect_after(last);
        }
    }

    /// Records that the store has stored messages again, which it had lost before.
    pub fn stored(&self, number: u64) {
        self.0.lock().missing.remove(&number);
    }

    /// Records that the store has lost messages and devices.
    pub fn lost(&self, numbers: &[u64], devices: &[String]) {
        let mut state = self.0.lock();
        state.lost.extend(numbers);
        state.missing.extend(numbers);
        for name in devices {
            if let Some(device) = state.devices.get_mut(name) {
                (device.is_lost, device.connected_after) = (true, u64::MAX);
            }
        }
    }

    /// Records a message that a page has handled. `None` means that messages were lost.
    pub fn received(&self, device: &str, number: Option<u64>) {
        let mut state = self.0.lock();
        let page = state.devices.get_mut(device).and_then(|device| device.pages.last_mut());
        page.expect("the page was loaded").push(number);
    }

    /// Checks that each device in use has received each message of its person, each page at most
    /// once and in order.
    pub fn check(&self, history: &History) {
        self.violations().into_iter().for_each(|message| history.violated(message));
    }

    /// Returns how many messages were sent.
    pub fn count(&self) -> u64 {
        self.0.lock().last
    }

    /// Returns the devices and messages for which that is not true now.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        let state = self.0.lock();
        for (name, device) in &state.devices {
            let Device { person, connected_after, is_in_use, pages, .. } = device;
            if *is_in_use && device.has_connected && device.is_lost {
                violations.push(format!("the store has lost the device {name}"));
            }
            for page in pages {
                // A message that was lost and stored again may arrive twice.
                let may_repeat =
                    |number: &Option<u64>| number.is_some_and(|it| state.lost.contains(&it));
                let is_sorted =
                    page.is_sorted_by(|one, next| one < next || one == next && may_repeat(one));
                if !is_sorted || page.contains(&None) {
                    violations.push(format!("{name} ({person}) received the messages {page:?}"));
                }
            }
            let expected = state.sent.get(person).into_iter().flatten();
            let expected = expected
                .filter(|number| *number > connected_after && !state.missing.contains(number));
            let missing: Vec<_> = expected
                .filter(|number| !pages.iter().any(|page| page.contains(&Some(**number))))
                .collect();
            if *is_in_use && !missing.is_empty() {
                violations.push(format!(
                    "{name} ({person}) has not received the messages {missing:?}, only {pages:?}"
                ));
            }
        }
        violations
    }
}
