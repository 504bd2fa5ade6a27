//! Rules for statuses after which a write is sent again, and the pauses before that.

use core::time::Duration;

use crate::json;
use crate::time::Instant;

/// The minimum and maximum pause in milliseconds. The jitter at most doubles the minimum.
const MIN_PAUSE: u64 = 250;
const MAX_PAUSE: u64 = 30_000;

/// The effect of a response's status on its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The status is final.
    Final,
    /// The server cannot handle the write now. The number is its `Retry-After` in milliseconds, or
    /// 0.
    Later(u64),
    /// The write needs other auth.
    Unauthorized,
}

/// Returns the effect of a status on a write. If the write was sent when the app made it, the app
/// gets any status that plain Backbone would get, except for requests to retry. If it had waited
/// offline, the user no longer watches a form, so the client sends it again.
pub(crate) fn verdict(status: u16, has_waited: bool, retry_after: Option<&str>) -> Verdict {
    let is_later = match status {
        429 => true,
        503 => has_waited || retry_after.is_some(),
        // RFC 4918: only the user may repeat a write that was refused with 507. Otherwise all
        // others would wait for it.
        408 | 425 | 500..=506 => has_waited,
        _ => false,
    };
    match status {
        401 if has_waited => Verdict::Unauthorized,
        _ if is_later => Verdict::Later(retry_after.map_or(0, milliseconds)),
        _ => Verdict::Final,
    }
}

/// Returns a `Retry-After` header in milliseconds, or 0 if the header is not a number of seconds.
fn milliseconds(retry_after: &str) -> u64 {
    let seconds = json::read_number(retry_after.as_bytes()).map_or(0, |(seconds, _)| seconds);
    seconds.saturating_mul(1_000).min(MAX_PAUSE)
}

/// Later than any deadline: the pause lasts until the next connection, or until the app sets auth.
const AUTHORIZED: Instant = Instant::from_millis(u64::MAX);

/// A pause of all writes. Reads are still sent.
#[derive(Debug)]
pub(crate) struct Pause {
    until: Option<Instant>,
    /// The number of consecutive pauses that began with a refusal.
    count: u32,
}

impl Pause {
    pub(crate) const fn new() -> Self {
        Self { until: None, count: 0 }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Pauses for `retry_after` milliseconds plus jitter. If that is 0, pauses for twice as long as
    /// the last time. `random` is a number that differs between clients.
    pub(crate) fn back_off(&mut self, now: Instant, retry_after: u64, random: u64) {
        // Writes that were sent together are refused together. Only the first refusal begins a
        // pause.
        if !self.is_on() {
            self.count += 1;
        }
        let doublings = if retry_after > 0 { 1 } else { self.count.min(7) };
        let ceiling = (MIN_PAUSE << doublings).min(MAX_PAUSE);
        let jittered = retry_after + ceiling / 2 + random % (ceiling / 2);
        self.wait(now + Duration::from_millis(jittered));
    }

    /// Pauses until this time, unless the pause already waits for auth.
    pub(crate) fn wait(&mut self, until: Instant) {
        if self.until != Some(AUTHORIZED) {
            self.until = Some(until);
        }
    }

    /// Pauses until the app sets auth. Returns false if the pause waits for that already.
    pub(crate) fn wait_for_auth(&mut self) -> bool {
        self.until.replace(AUTHORIZED) != Some(AUTHORIZED)
    }

    /// Makes the next pause short, because the server has answered a write.
    pub(crate) fn answered(&mut self) {
        self.count = 0;
    }

    /// Ends the pause if it waits for auth.
    pub(crate) fn authorized(&mut self) {
        if self.until == Some(AUTHORIZED) {
            self.until = None;
        }
    }

    /// Ends the pause. A new connection may lead to a server that has recovered.
    pub(crate) fn end(&mut self) {
        self.until = None;
    }

    /// Ends the pause if its time is over.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.until.filter(|until| *until != AUTHORIZED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(retry_after: u64, random: u64) -> Vec<u64> {
        let mut pause = Pause::new();
        let now = Instant::from_millis(0);
        let mut next = || {
            pause.end();
            pause.back_off(now, retry_after, random);
            now.until(pause.deadline().unwrap()).as_millis() as u64
        };
        (0..9).map(|_| next()).collect()
    }

    #[test]
    fn pauses_double_from_250_ms_to_30_seconds() {
        let doubled = [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000];
        assert_eq!(pauses(0, 0), doubled);
        assert!(pauses(0, u64::MAX).iter().all(|pause| *pause < MAX_PAUSE));
    }

    #[test]
    fn pause_is_a_little_longer_than_retry_after() {
        assert!(pauses(7_000, 3).iter().all(|pause| *pause == 7_253));
    }

    #[test]
    fn retry_after_is_in_seconds_and_limited_to_30() {
        let read = ["0", "7", "30", "31", "99999999999999999999", "Wed, 21 Oct 2026", ""];
        assert_eq!(read.map(milliseconds), [0, 7_000, 30_000, 30_000, 0, 0, 0]);
    }

    #[test]
    fn write_sent_at_once_ends_with_any_status_except_429_and_503_with_retry_after() {
        for status in 200..600 {
            let is_final = verdict(status, false, None) == Verdict::Final;
            assert_eq!(is_final, status != 429, "{status}");
        }
        assert_eq!(verdict(503, false, Some("2")), Verdict::Later(2_000));
    }

    #[test]
    fn write_that_waited_offline_is_sent_again_after_temporary_errors() {
        let final_statuses = [200, 201, 204, 400, 403, 404, 409, 410, 413, 422, 507];
        assert!(final_statuses.iter().all(|status| verdict(*status, true, None) == Verdict::Final));
        let later = [408, 425, 429, 500, 502, 503, 504];
        assert!(later.iter().all(|status| verdict(*status, true, None) == Verdict::Later(0)));
        assert_eq!(verdict(401, true, None), Verdict::Unauthorized);
    }

    #[test]
    fn busy_server_does_not_shorten_the_pause_for_auth() {
        let mut pause = Pause::new();
        assert!(pause.wait_for_auth());
        assert!(!pause.wait_for_auth(), "the app is notified once");
        pause.back_off(Instant::from_millis(0), 0, 0);
        pause.tick(Instant::from_millis(u64::MAX - 1));
        assert!(pause.is_on());
        pause.authorized();
        assert!(!pause.is_on());
    }
}
