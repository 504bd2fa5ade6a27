//! Somebody who is connected to a site.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use backwire_engine::{Delivery, Device, Said};
use backwire_records::access::Who;
use backwire_records::change::Id;
use backwire_records::messages::flake::Flake;
use backwire_records::messages::rules::Ttl;
use http::HeaderValue;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::rejection::{LONGEST_DEVICE, Rejection};
use crate::dialect::runtime;
use crate::http::origin::SitePage;
use crate::sites::{EventNames, Name, Site};

/// What a client says when it connects.
#[derive(Debug)]
pub(crate) struct Introduction {
    pub(crate) token: Option<String>,
    /// What the device calls itself. A person whose devices have no names has one.
    pub(crate) device: Option<String>,
    /// Whether it is our runtime.
    pub(crate) is_runtime: bool,
    /// Its address, as far as it is known.
    pub(crate) address: Option<IpAddr>,
    /// The origin of its page, if only the site can allow it.
    pub(crate) page: Option<SitePage>,
}

/// Who has been let in.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) name: Name,
    pub(crate) site: Arc<Site>,
    /// All that the site's back end has told.
    pub(crate) rooms: Arc<[String]>,
    pub(crate) device: Arc<str>,
    pub(crate) is_runtime: bool,
    /// What its token is shown as to the site's back end.
    pub(crate) authorization: Option<HeaderValue>,
    /// Its token and address, if its site has connected clients checked again.
    pub(super) token: Option<String>,
    pub(super) address: Option<IpAddr>,
    /// How many revocations there had been at the site when its back end was asked.
    pub(super) round: u64,
}

impl Introduction {
    /// The device, if it can be called so.
    pub(crate) fn device(&self) -> Result<Arc<str>, Rejection> {
        let device = self.device.as_deref().unwrap_or_default();
        match device.len() {
            ..=LONGEST_DEVICE => Ok(device.into()),
            _ => Err(Rejection::Device),
        }
    }

    /// Whether the site allows the page.
    pub(crate) fn check_origin(&self, name: &Name, site: &Site) -> Result<(), Rejection> {
        match &self.page {
            Some(SitePage(origin)) if !site.allows(origin) => {
                let (site, origin) = (name.as_str().to_owned(), origin.clone());
                Err(Rejection::Origin { site, origin })
            }
            _ => Ok(()),
        }
    }
}

impl Guest {
    /// The queues that are this person's, on this device.
    pub(crate) fn devices(&self) -> impl Iterator<Item = Device> {
        let own = self.rooms.iter().filter(|room| self.site.is_user_room(room));
        own.map(|room| Device {
            site: self.name.as_str().into(),
            person: room.as_str().into(),
            name: Arc::clone(&self.device),
        })
    }

    /// Who this is to the rules of resources: the person's own room without its prefix, and all rooms as
    /// roles.
    pub(crate) fn who(&self) -> Who {
        let prefix = self.site.user_room_prefix.as_deref();
        let own = self.rooms.iter().find_map(|room| room.strip_prefix(prefix?));
        Who { person: own.and_then(Id::parse), roles: self.rooms.clone() }
    }

    /// What it is told first, where its site says so: how long is waited for it when it is away.
    pub(crate) fn settings(&self, ttl: Ttl) -> Option<(&'static str, Box<RawValue>)> {
        (self.manner() == Manner::Stock(EventNames::Underscored))
            .then(|| ("_settings", raw(&json!({ "device_ttl": ttl.as_seconds() }))))
    }

    /// How it is told of things.
    pub(crate) fn manner(&self) -> Manner {
        match (self.is_runtime, self.site.event_names) {
            (true, _) => Manner::Runtime,
            (false, names) => Manner::Stock(names),
        }
    }
}

/// How deliveries are said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As the SocketIO Web Service did: `event(...args)`, and `batch([[event, ...args], …])`.
    Stock(EventNames),
    /// As a push of the room without a name: each delivery is a change, whose id is the delivery's and whose
    /// data is `[event, ...args]`; `[]` says that something was lost.
    Runtime,
}

/// An event with its arguments.
pub(crate) struct Saying {
    pub(crate) event: String,
    pub(crate) arguments: Vec<Box<RawValue>>,
    /// The last of the deliveries it tells of.
    pub(crate) last: Flake,
}

impl Manner {
    /// Several at once.
    pub(crate) fn batch(self, deliveries: &[Delivery]) -> Saying {
        let event = match self {
            Self::Runtime => runtime::EVENT,
            Self::Stock(EventNames::Plain) => "batch",
            Self::Stock(EventNames::Underscored) => "_batch",
        };
        let arguments = match self {
            Self::Runtime => of_nobody(deliveries.iter().map(|it| (Some(it.id), said(&it.said)))),
            Self::Stock(_) => {
                vec![raw(&deliveries.iter().map(|it| said(&it.said)).collect::<Vec<_>>())]
            }
        };
        let last = deliveries.last().map_or(Flake::ZERO, |last| last.id);
        Saying { event: event.to_owned(), arguments, last }
    }

    /// One by itself.
    pub(crate) fn one(self, id: Flake, event: &str, arguments: &[Box<RawValue>]) -> Saying {
        match self {
            Self::Runtime => {
                let said = Said::Event { event: event.to_owned(), args: arguments.to_vec() };
                self.batch(&[Delivery { id, said }])
            }
            Self::Stock(_) => {
                Saying { event: event.to_owned(), arguments: arguments.to_vec(), last: id }
            }
        }
    }

    /// The event and the arguments of a message that is not in a queue, and so has no id.
    pub(crate) fn unqueued_event<'a>(
        self,
        event: &'a str,
        arguments: &'a [Box<RawValue>],
    ) -> (&'a str, Cow<'a, [Box<RawValue>]>) {
        match self {
            Self::Runtime => (runtime::EVENT, of_nobody([(None, spoken(event, arguments))]).into()),
            Self::Stock(_) => (event, arguments.into()),
        }
    }

    /// That something was lost, where that is an event of its own.
    pub(crate) fn resync(self) -> &'static str {
        match self {
            Self::Stock(EventNames::Underscored) => "_resync",
            Self::Stock(EventNames::Plain) | Self::Runtime => "resync",
        }
    }
}

/// The arguments of a push of the room without a name.
fn of_nobody(
    said: impl IntoIterator<Item = (Option<Flake>, Vec<Box<RawValue>>)>,
) -> Vec<Box<RawValue>> {
    let change = |(id, said): (Option<Flake>, _)| (0, 0, id.map(|id| id.to_string()), said, 0);
    let changes: Vec<_> = said.into_iter().map(change).collect();
    vec![raw(""), raw(&0), raw(&0), raw(&changes)]
}

/// `[event, ...args]`
fn said(said: &Said) -> Vec<Box<RawValue>> {
    match said {
        Said::Event { event, args } => spoken(event, args),
        Said::Resync => Vec::new(),
    }
}

fn spoken(event: &str, arguments: &[Box<RawValue>]) -> Vec<Box<RawValue>> {
    std::iter::once(raw(event)).chain(arguments.iter().cloned()).collect()
}

fn raw(value: &(impl serde::Serialize + ?Sized)) -> Box<RawValue> {
    to_raw_value(value).expect("it is made of JSON and strings")
}
