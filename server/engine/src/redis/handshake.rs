//! The first commands on a connection: they check the version of Redis and the schema of the data,
//! and determine the epoch.

use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};
use tracing::warn;

use super::link::Link;
use super::reply::{Reply, parse};
use super::runtime::{draw_epoch, draw_secret};
use super::script::{self, Call};
use crate::Error;
use crate::counters::{MAX_COUNTED_ID, SKIPPED_IDS};

/// The version of the data in Redis.
pub(super) const SCHEMA: &str = "1";

/// The oldest version of Redis that works.
const OLDEST_MAJOR: u32 = 7;

/// The maximum number of stored epochs. A client that was away during more of them reads again.
const MAX_EPOCHS: u32 = 10_000;

/// The epoch of a run of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) epoch: u64,
    /// Later epochs have higher numbers.
    pub(super) number: u64,
}

/// Returns the epoch of the run of Redis that the connection leads to.
pub(super) async fn begin(link: &Link, redis: &mut MultiplexedConnection) -> Result<Epoch, Error> {
    let info: String =
        cmd("INFO").arg("server").query_async(redis).await.map_err(|error| link.error(&error))?;
    check_version(property(&info, "redis_version"))?;
    let replication: String = cmd("INFO")
        .arg("replication")
        .query_async(redis)
        .await
        .map_err(|error| link.error(&error))?;
    // A master that becomes a replica and then the master again is the same process, but may have
    // lost its last writes. Its replication id is another one.
    let run = [property(&info, "run_id"), property(&replication, "master_replid")].join(" ");
    let call = Call::new(&script::EPOCH)
        .with(SCHEMA)
        .with(run)
        .with(draw_epoch())
        .with(&draw_secret()[..])
        .with(MAX_EPOCHS)
        .with(SKIPPED_IDS)
        .with(MAX_COUNTED_ID);
    let begun: Value =
        call.command(&link.prefix).query_async(redis).await.map_err(|error| link.error(&error))?;
    let mut begun = Reply::list(begun)?;
    let schema = begun.text()?;
    if schema != SCHEMA {
        return Err(other_schema(link, &schema));
    }
    Ok(Epoch { epoch: begun.number()?, number: begun.number()? })
}

/// Returns the error of data with another schema.
pub(super) fn other_schema(link: &Link, schema: &str) -> Error {
    Error::Unavailable(format!(
        "the data in Redis under `{}` have schema {schema}, but this version of Backwire reads {SCHEMA}: start \
         the version that wrote them, or choose another prefix",
        link.prefix
    ))
}

/// Checks the version of Redis.
pub(super) async fn check(link: &Link, redis: &mut MultiplexedConnection) -> Result<(), Error> {
    let info: String =
        cmd("INFO").arg("server").query_async(redis).await.map_err(|error| link.error(&error))?;
    check_version(property(&info, "redis_version"))
}

/// Warns if Redis may drop data when its memory is full.
pub(super) async fn warn_of_eviction(link: &Link, redis: &mut MultiplexedConnection) {
    let info: Result<String, _> = cmd("INFO").arg("memory").query_async(redis).await;
    // It is only a warning: if the command fails, so do the next ones, and are reported.
    let Ok(info) = info else { return };
    let policy = property(&info, "maxmemory_policy");
    if evicts(policy) {
        warn!(
            "Redis drops data when its memory is full (maxmemory-policy: {policy}), including records of \
             `{}`: set it to `noeviction`",
            link.prefix
        );
    }
}

/// Whether a policy drops keys that have no expiry.
pub(super) fn evicts(policy: &str) -> bool {
    policy.starts_with("allkeys")
}

fn check_version(version: &str) -> Result<(), Error> {
    let major = parse::<u32>(version.split('.').next().unwrap_or_default())?;
    if major < OLDEST_MAJOR {
        return Err(Error::Unavailable(format!(
            "this Redis is version {version}, but {OLDEST_MAJOR}.0 or later is needed: upgrade it"
        )));
    }
    Ok(())
}

/// Returns a property in the reply of `INFO`; empty if it is missing.
fn property<'i>(info: &'i str, name: &str) -> &'i str {
    let mut values = info.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_before_version_7_is_refused() {
        assert!(check_version("7.0.15").is_ok() && check_version("8.2.1").is_ok());
        let refused = check_version("6.2.7").unwrap_err().to_string();
        assert!(refused.contains("version 6.2.7, but 7.0 or later"), "{refused}");
    }

    #[test]
    fn policies_for_all_keys_evict() {
        assert!(evicts("allkeys-lru") && evicts("allkeys-random"));
        assert!(!evicts("noeviction") && !evicts("volatile-lru"));
    }

    #[test]
    fn property_is_the_value_after_its_name() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n";
        assert_eq!((property(info, "run_id"), property(info, "run")), ("abc", ""));
    }
}
