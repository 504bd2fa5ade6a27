//! The settings `limits`: what one client, site or resource may use, and all of them together.
//!
//! The table below is the only place that declares a limit: its setting, its default and its
//! counter. `docs/reference/limits.md` has a row for each, which a test checks.

use std::fmt;
use std::time::Duration;

use backwire_engine::{DEFAULT_READ_DEADLINE, ReadOptions};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::duration;

/// Declares the limits that are settings, and those that are set elsewhere.
macro_rules! limits {
    (
        settings { $($(#[doc = $doc:literal])+ $key:ident ($limit:ident): $type:ty = $default:expr,)+ }
        others { $($(#[doc = $other_doc:literal])+ $other_key:ident ($other:ident),)* }
    ) => {
        /// The limits of one client, site or resource. `docs/reference/limits.md` describes what
        /// happens to a client that reaches a limit.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $key: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        /// The block `limits` of a configuration file.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct LimitsBlock {
            $(#[serde(deserialize_with = "value")] $key: Option<$type>,)+
        }

        impl LimitsBlock {
            /// Replaces the limits that the block sets.
            pub(crate) fn apply_to(self, limits: &mut Limits) {
                $(if let Some(value) = self.$key {
                    limits.$key = value;
                })+
            }
        }

        /// Writes the limits as a configuration file has them.
        impl fmt::Display for Limits {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let settings = [$((stringify!($key), self.$key.to_setting()),)+];
                let settings = settings.map(|(key, value)| format!("{key}: {value}"));
                write!(f, "{{{}}}", settings.join(", "))
            }
        }

        /// A limit that a client can reach.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Limit {
            $($(#[doc = $doc])+ $limit,)+
            $($(#[doc = $other_doc])+ $other,)*
        }

        /// Writes the name of the limit.
        impl fmt::Display for Limit {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl Limit {
            /// All limits, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$limit,)+ $(Self::$other,)*];

            /// Returns the key of the setting, which is also the name of the counter.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$limit => stringify!($key),)+
                    $(Self::$other => stringify!($other_key),)*
                }
            }
        }
    };
}

limits! {
    settings {
        /// Requests that one connection may have in flight. The next one is refused with 429.
        requests_in_flight (RequestsInFlight): usize = 256,
        /// Values in the JSON of one request: numbers, texts, lists, objects. A request with more
        /// is refused with 413.
        body_values (BodyValues): usize = 100_000,
        /// How long the reads of one request may take together. A request that takes longer is
        /// refused with 503.
        read_deadline (ReadDeadline): Duration = DEFAULT_READ_DEADLINE,
        /// Records in one answer, with those that `populate` adds. A larger answer is refused with
        /// 413.
        answer_records (AnswerRecords): usize = 10_000,
        /// Bytes of one answer. A larger answer is refused with 413.
        answer_bytes (AnswerBytes): usize = 16 << 20,
        /// Bytes that one read may hold in memory to sort by attributes without an index. A read
        /// that needs more is refused with 413.
        sort_bytes (SortBytes): usize = 64 << 20,
        /// Packets that may wait for one connection to read them. A connection with more is
        /// disconnected.
        unread_packets (UnreadPackets): usize = 512,
        /// Bytes of the requests that one connection may have in flight. The next one is refused
        /// with 429.
        request_bytes (RequestBytes): usize = 4 << 20,
        /// Bytes of all requests that are in flight or arrive over a WebSocket, without the first 8
        /// KiB of each connection. A WebSocket is not read until there is room. A body over HTTP
        /// waits or is refused with 503. One client may use a quarter. The heads of requests have
        /// as many bytes for themselves, and so have the values that requests are parsed to.
        total_request_bytes (TotalRequestBytes): usize = 32 << 20,
        /// Bytes that may wait for one connection to read them, before its next request is answered
        /// and before it is sent another push.
        unread_bytes (UnreadBytes): usize = 4 << 20,
        /// Bytes of the answers to all clients, from when they are read from the store until the
        /// clients have read them, and of pushes that wait. The next read is refused with 503. One
        /// client may use a quarter. Answers of up to 64 KiB are counted for each client
        /// separately, without a total.
        total_unread_bytes (TotalUnreadBytes): usize = 64 << 20,
        /// How long a client may read nothing of its output before it is disconnected.
        write_deadline (WriteDeadline): Duration = Duration::from_secs(20),
        /// Rooms that one connection may be in: those of resources, of filters and of records.
        rooms_per_connection (RoomsPerConnection): usize = 10_000,
        /// Bytes of the names of these rooms, wherever the server keeps them.
        subscription_bytes (SubscriptionBytes): usize = 1 << 20,
        /// Bytes that the server keeps for the rooms of all connections.
        subscription_bytes_total (SubscriptionBytesTotal): usize = 64 << 20,
        /// Filters that one connection may follow.
        filters_per_connection (FiltersPerConnection): usize = 100,
        /// Different filters that the connections of one address, or of one person, may follow.
        filters_per_client (FiltersPerClient): usize = 1_000,
        /// Different filters of one resource that may be followed.
        filters_per_resource (FiltersPerResource): usize = 10_000,
        /// Filters of one resource that require no value of an attribute, so that each change is
        /// compared with them.
        unindexed_filters_per_resource (UnindexedFiltersPerResource): usize = 1_000,
        /// Bytes of the texts of changes that filters such as `contains` may search before the
        /// changes are sent. Beyond that, clients that follow the remaining filters read again.
        searched_bytes (SearchedBytes): usize = 64 << 20,
        /// Packets to stock clients that are committed and not sent yet, with the work of filters
        /// that search their changes. A write with more of them waits. One client may cause half.
        unsent_packets (UnsentPackets): usize = 32_768,
        /// Work of one resume: one for each comparison of a filter with a change, and one more for
        /// each KB of the record's text. The rooms after that are answered with *resync*.
        resume_work (ResumeWork): usize = 2_000_000,
        /// Bytes in memory of the changes that one resume reads. The rooms after that are answered
        /// with *resync*.
        resume_bytes (ResumeBytes): usize = 64 << 20,
        /// Bytes in memory of the changes that all resumes hold at the same time. One client may
        /// use a quarter, or more for a single read. Rooms beyond that are answered with *resync*.
        total_resume_bytes (TotalResumeBytes): usize = 128 << 20,
        /// Polling sessions of one address that may be without a CONNECT.
        unconnected_sessions_per_address (UnconnectedSessionsPerAddress): usize = 10,
        /// Polling sessions that may be without a CONNECT, in all.
        unconnected_sessions (UnconnectedSessions): usize = 1_000,
        /// How long a session may be without a CONNECT.
        connect_deadline (ConnectDeadline): Duration = Duration::from_secs(10),
        /// TCP connections that may be open. The limit is lower if the process may not open as many
        /// files.
        connections (Connections): usize = 65_536,
        /// TCP connections that one address may have open, and requests that one client of a proxy
        /// may have in flight.
        connections_per_address (ConnectionsPerAddress): usize = 2_048,
        /// How long a client may take to send the head of a request.
        header_deadline (HeaderDeadline): Duration = Duration::from_secs(10),
        /// How long a client may send nothing of the body of a request.
        body_deadline (BodyDeadline): Duration = Duration::from_secs(30),
        /// Bytes per second that a client has to send of a request, measured over 5 seconds, if the
        /// memory for requests is used up. Slower uploads are ended.
        upload_speed (UploadSpeed): usize = 32 << 10,
        /// How long a connection stays open without a request.
        idle_deadline (IdleDeadline): Duration = Duration::from_secs(75),
        /// Records of all resources together. A write that adds another is refused with 507.
        records (Records): usize = 10_000_000,
        /// Records of one resource. A write that adds another is refused with 507.
        records_per_resource (RecordsPerResource): usize = 1_000_000,
        /// Undeclared resources. The first record of another is refused with 507.
        undeclared_resources (UndeclaredResources): usize = 1_000,
        /// Undeclared resources that one address may create per hour. The first record of another
        /// is refused with 507.
        undeclared_resources_per_address (UndeclaredResourcesPerAddress): usize = 100,
        /// Sessions that hold a value. A new session replaces the one that has not been used for
        /// the longest time, among those of visitors who have not signed in.
        sessions (Sessions): usize = 1_000_000,
        /// Sessions that one address may create per hour. The next one is refused with 429.
        sessions_per_address (SessionsPerAddress): usize = 10_000,
    }
    others {
        /// Bytes of the body of a request.
        body_limit (BodyLimit),
    }
}

impl Limits {
    /// Returns the limits of one answer.
    pub(crate) fn reads(&self) -> ReadOptions {
        let Self { answer_records, answer_bytes, sort_bytes, .. } = *self;
        ReadOptions {
            records: answer_records,
            bytes: answer_bytes,
            sort_bytes,
            ..ReadOptions::default()
        }
    }
}

/// A value of the block: a whole number of 1 or more, or a duration with a unit.
trait LimitValue: Sized {
    fn parse(text: &str) -> Result<Self, &'static str>;
    fn to_setting(&self) -> String;
}

fn value<'de, D: Deserializer<'de>, T: LimitValue>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| T::parse(&text).map_err(D::Error::custom)).transpose()
}

impl LimitValue for usize {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let number = text.parse().ok().filter(|number| *number > 0);
        number.ok_or("is not a whole number, 1 or more")
    }

    fn to_setting(&self) -> String {
        self.to_string()
    }
}

impl LimitValue for Duration {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let duration = duration::duration(text).ok().filter(|duration| !duration.is_zero());
        duration.ok_or("is not a duration, such as 2s, 30m, 24h or 7d")
    }

    fn to_setting(&self) -> String {
        format!("{}s", self.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_own_number_and_name() {
        let mut names = Vec::new();
        for (number, limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(*limit as usize, number);
            assert!(!names.contains(&limit.name()), "{}", limit.name());
            names.push(limit.name());
        }
    }

    #[test]
    fn limits_page_lists_each_limit_with_its_default() {
        let page = include_str!("../../../docs/reference/limits.md");
        let settings = Limits::default().to_string();
        let settings = settings.trim_matches(['{', '}']).split(", ").map(|it| it.split_once(": "));
        for (key, default) in settings.map(Option::unwrap) {
            let row = format!("| `{key}` | {default} |");
            assert!(page.contains(&row), "limits.md has no row that begins with: {row}");
        }
        for limit in Limit::ALL {
            assert!(page.contains(&format!("`{}`", limit.name())), "{}", limit.name());
        }
    }
}
