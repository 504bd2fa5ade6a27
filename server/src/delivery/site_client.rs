//! A client of a site, and the form of the events that it is sent.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use backwire_engine::{Delivery, DeliveryContent, Device};
use backwire_protocol::wire;
use backwire_records::access::Principal;
use backwire_records::change::Id;
use backwire_records::messages::flake::Flake;
use backwire_records::messages::rules::Ttl;
use http::HeaderValue;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::rejection::{MAX_DEVICE_BYTES, Rejection};
use crate::dialect::runtime;
use crate::http::origin::SiteOrigin;
use crate::sites::{EventNames, Name, Site};

/// The data that a client sends in its CONNECT.
#[derive(Debug)]
pub(crate) struct ConnectRequest {
    pub(crate) token: Option<String>,
    /// The name of the device. All devices of a person without a name count as one.
    pub(crate) device: Option<String>,
    /// Whether it is our runtime.
    pub(crate) is_runtime: bool,
    /// The client's address, if it is known.
    pub(crate) address: Option<IpAddr>,
    /// The origin of the page, if only the site can allow it.
    pub(crate) page: Option<SiteOrigin>,
}

/// An authenticated client of a site.
#[derive(Debug)]
pub(crate) struct SiteClient {
    pub(crate) name: Name,
    pub(crate) site: Arc<Site>,
    /// The rooms that the site's back end has returned.
    pub(crate) rooms: Arc<[String]>,
    /// How long the token is still valid, if the site's back end says so.
    pub(super) expires_in: Option<Duration>,
    pub(crate) device: Arc<str>,
    pub(crate) is_runtime: bool,
    /// The `Authorization` header that the site's back end gets.
    pub(crate) authorization: Option<HeaderValue>,
    /// The token, if the site has connected clients checked again.
    pub(super) token: Option<String>,
    /// The client's address, if it is known.
    pub(super) address: Option<IpAddr>,
    /// How many revocations there had been at the site when the request to its back end began.
    pub(super) revocations: u64,
}

impl ConnectRequest {
    /// Returns the name of the device, or an error if it is too long.
    pub(crate) fn device(&self) -> Result<Arc<str>, Rejection> {
        let device = self.device.as_deref().unwrap_or_default();
        match device.len() {
            ..=MAX_DEVICE_BYTES => Ok(device.into()),
            _ => Err(Rejection::Device),
        }
    }

    /// Returns an error if the site does not allow the page.
    pub(crate) fn check_origin(&self, name: &Name, site: &Site) -> Result<(), Rejection> {
        match &self.page {
            Some(SiteOrigin(origin)) if !site.allows(origin) => {
                let (site, origin) = (name.as_str().to_owned(), origin.clone());
                Err(Rejection::Origin { site, origin })
            }
            _ => Ok(()),
        }
    }
}

impl SiteClient {
    /// Returns one queue key for each person of this client: the person on this device.
    pub(crate) fn devices(&self) -> impl Iterator<Item = Device> {
        let own = self.rooms.iter().filter(|room| self.site.is_user_room(room));
        own.map(|room| Device {
            site: self.name.as_str().into(),
            person: room.as_str().into(),
            name: Arc::clone(&self.device),
        })
    }

    /// Returns the caller for the access rules of resources. The person is the client's private
    /// room without its prefix, and the roles are all of its rooms.
    pub(crate) fn principal(&self) -> Principal {
        let prefix = self.site.user_room_prefix.as_deref();
        let own = self.rooms.iter().find_map(|room| room.strip_prefix(prefix?));
        Principal { person: own.and_then(Id::parse), roles: self.rooms.clone() }
    }

    /// Returns the event that the client is sent first, if there is one: to our runtime, when its
    /// token expires; if the site has underscored event names, how long messages wait for a
    /// disconnected device.
    pub(crate) fn first_event(&self, ttl: Ttl) -> Option<(&'static str, Vec<Box<RawValue>>)> {
        match self.event_format() {
            EventFormat::Runtime => self.expires_in.map(|time| {
                let event = event_array(wire::event::EXPIRES, &[raw(&time.as_secs())]);
                (runtime::EVENT, unnamed_room_push([(None, event)]))
            }),
            EventFormat::Stock(EventNames::Underscored) => {
                Some(("_settings", vec![raw(&json!({ "device_ttl": ttl.as_seconds() }))]))
            }
            EventFormat::Stock(EventNames::Plain) => None,
        }
    }

    /// Returns the form of the events that the client is sent.
    pub(crate) fn event_format(&self) -> EventFormat {
        match (self.is_runtime, self.site.event_names) {
            (true, _) => EventFormat::Runtime,
            (false, names) => EventFormat::Stock(names),
        }
    }
}

/// The form of deliveries as events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventFormat {
    /// The form of the SocketIO Web Service: `event(...args)`, and `batch([[event, ...args], …])`.
    Stock(EventNames),
    /// A push of the room without a name. Each delivery is a change whose id is the delivery's and
    /// whose data is `[event, ...args]`. `[]` means that messages were lost.
    Runtime,
}

/// An event with its arguments.
pub(crate) struct OutgoingEvent {
    pub(crate) event: String,
    pub(crate) arguments: Vec<Box<RawValue>>,
    /// The last of the deliveries that the event contains.
    pub(crate) last: Flake,
}

impl EventFormat {
    /// Returns several deliveries as one event.
    pub(crate) fn batch(self, deliveries: &[Delivery]) -> OutgoingEvent {
        let event = match self {
            Self::Runtime => runtime::EVENT,
            Self::Stock(EventNames::Plain) => "batch",
            Self::Stock(EventNames::Underscored) => "_batch",
        };
        let arguments = match self {
            Self::Runtime => {
                let changes = deliveries.iter();
                unnamed_room_push(changes.map(|it| (Some(it.id), delivery_array(&it.content))))
            }
            Self::Stock(_) => {
                let events = deliveries.iter().map(|it| delivery_array(&it.content));
                vec![raw(&events.collect::<Vec<_>>())]
            }
        };
        let last = deliveries.last().map_or(Flake::ZERO, |last| last.id);
        OutgoingEvent { event: event.to_owned(), arguments, last }
    }

    /// Returns one delivery as one event.
    pub(crate) fn one(self, id: Flake, event: &str, arguments: &[Box<RawValue>]) -> OutgoingEvent {
        match self {
            Self::Runtime => {
                let args = arguments.to_vec();
                let content = DeliveryContent::Event { event: event.to_owned(), args };
                self.batch(&[Delivery { id, content }])
            }
            Self::Stock(_) => {
                OutgoingEvent { event: event.to_owned(), arguments: arguments.to_vec(), last: id }
            }
        }
    }

    /// Returns the event and the arguments of a message that is not in a queue, and so has no id.
    pub(crate) fn unqueued_event<'a>(
        self,
        event: &'a str,
        arguments: &'a [Box<RawValue>],
    ) -> (&'a str, Cow<'a, [Box<RawValue>]>) {
        match self {
            Self::Runtime => {
                let push = unnamed_room_push([(None, event_array(event, arguments))]);
                (runtime::EVENT, push.into())
            }
            Self::Stock(_) => (event, arguments.into()),
        }
    }

    /// Returns the name of the event that reports lost messages to stock clients.
    pub(crate) fn resync(self) -> &'static str {
        match self {
            Self::Stock(EventNames::Underscored) => "_resync",
            Self::Stock(EventNames::Plain) | Self::Runtime => "resync",
        }
    }
}

/// Returns the arguments of a push of the room without a name.
fn unnamed_room_push(
    deliveries: impl IntoIterator<Item = (Option<Flake>, Vec<Box<RawValue>>)>,
) -> Vec<Box<RawValue>> {
    let event = |(id, content): (Option<Flake>, _)| {
        let id = id.map(|id| id.to_string());
        wire::UserEvent { id, content }
    };
    let events: Vec<_> = deliveries.into_iter().map(event).collect();
    let (room, epoch, prev, events) = wire::Push::to_user(events).into_arguments();
    vec![raw(room), raw(&epoch), raw(&prev), raw(&events)]
}

/// Returns `[event, ...args]`, or `[]` for a resync.
fn delivery_array(content: &DeliveryContent) -> Vec<Box<RawValue>> {
    match content {
        DeliveryContent::Event { event, args } => event_array(event, args),
        DeliveryContent::Resync => Vec::new(),
    }
}

fn event_array(event: &str, arguments: &[Box<RawValue>]) -> Vec<Box<RawValue>> {
    std::iter::once(raw(event)).chain(arguments.iter().cloned()).collect()
}

fn raw(value: &(impl serde::Serialize + ?Sized)) -> Box<RawValue> {
    to_raw_value(value).expect("it is made of JSON and strings")
}
