//! The events that the client sends, as text.

use crate::join::join;
use crate::json;
use crate::outbox::Entry;
use crate::wire::{self, ResumeEntry};

/// Returns the auth of a CONNECT: the version and the members of the object from the app.
pub(crate) fn auth(members: &str) -> String {
    let mut auth = String::from(join!("{\"", wire::AUTH_VERSION, "\":"));
    json::push_number(&mut auth, wire::VERSION);
    json::push_members(&mut auth, members);
    auth.push('}');
    auth
}

/// Returns `["put",{"url":…,"headers":{…},"data":` and the text that follows the body.
pub(crate) fn request<P>(entry: &Entry<P>) -> (String, &'static str) {
    let mut data = String::from("[\"");
    data.push_str(entry.request.verb.event());
    data.push_str("\",{\"url\":");
    json::push_string(&mut data, &entry.request.url);
    push_headers(&mut data, entry);
    if entry.request.body.is_none() {
        data.push_str("}]");
        return (data, "");
    }
    data.push_str(",\"data\":");
    (data, "}]")
}

fn push_headers<P>(data: &mut String, entry: &Entry<P>) {
    let headers = entry.request.headers.as_deref().unwrap_or_default();
    if entry.request.key.is_none() && json::members(headers).is_empty() {
        return;
    }
    data.push_str(",\"headers\":{");
    if let Some(key) = &entry.request.key {
        data.push_str(join!("\"", wire::header::IDEMPOTENCY_KEY, "\":"));
        json::push_string(data, key);
    }
    json::push_members(data, headers);
    data.push('}');
}

/// Returns an event with one text as its argument.
pub(crate) fn event(name: &str, argument: &str) -> String {
    let mut data = String::from("[");
    json::push_string(&mut data, name);
    data.push(',');
    json::push_string(&mut data, argument);
    data.push(']');
    data
}

/// Returns the event that resumes rooms, or an empty text if there is no room.
pub(crate) fn resume(mut next: impl FnMut() -> Option<ResumeEntry<String>>) -> String {
    let mut data = String::new();
    while let Some(entry) = next() {
        let begin = join!("[\"", wire::event::RESUME, "\",[");
        data.push_str(if data.is_empty() { begin } else { "," });
        entry.push_to(&mut data);
    }
    if !data.is_empty() {
        data.push_str("]]");
    }
    data
}
