//! Which answers do not end a write, and when it is sent again.

use core::time::Duration;

use crate::json;
use crate::time::Instant;

/// The ceiling of the first pause, and of all.
const FIRST_PAUSE: u64 = 500;
const LONGEST_PAUSE: u64 = 30_000;

/// What the status of an answer means for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the answer.
    Final,
    /// Not now. The server may have said after how many milliseconds.
    Later(u64),
    /// Not before the server knows who asks.
    Unauthorized,
}

/// A write that was sent when the app made it is answered as plain Backbone would be. One that had
/// waited offline has nobody in front of a form any more, so it is worth another try.
pub(crate) fn verdict(status: u16, has_waited: bool, retry_after: Option<&str>) -> Verdict {
    let is_later = match status {
        429 => true,
        503 => has_waited || retry_after.is_some(),
        408 | 425 | 500.. => has_waited,
        _ => false,
    };
    match status {
        401 if has_waited => Verdict::Unauthorized,
        _ if is_later => Verdict::Later(retry_after.map_or(0, milliseconds)),
        _ => Verdict::Final,
    }
}

/// Of a `Retry-After` in seconds. One that is a date counts as no number.
fn milliseconds(retry_after: &str) -> u64 {
    let seconds = json::read_number(retry_after.as_bytes()).map_or(0, |(seconds, _)| seconds);
    seconds.saturating_mul(1_000).min(LONGEST_PAUSE)
}

/// Later than any deadline: until the next connection, or until the app has other auth.
const AUTHORIZED: Instant = Instant::from_millis(u64::MAX);

/// While it lasts, no write is sent; reads are.
#[derive(Debug)]
pub(crate) struct Pause {
    until: Option<Instant>,
    /// Answers in a row that meant "not now".
    count: u32,
}

impl Pause {
    pub(crate) const fn new() -> Self {
        Self { until: None, count: 0 }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Waits for what the server asked for, or for twice as long as the last time. `random` is a
    /// number that differs between clients.
    pub(crate) fn back_off(&mut self, now: Instant, retry_after: u64, random: u64) {
        let doubled = if retry_after > 0 { 0 } else { self.count.min(8) };
        let most = (FIRST_PAUSE << doubled).min(LONGEST_PAUSE);
        self.count += 1;
        let jittered = retry_after + most / 2 + random % (most / 2);
        self.wait(now + Duration::from_millis(jittered));
    }

    /// Waits until then, unless it has to wait for auth.
    pub(crate) fn wait(&mut self, until: Instant) {
        if self.until != Some(AUTHORIZED) {
            self.until = Some(until);
        }
    }

    /// Waits until the server may know who asks; false if it does so already.
    pub(crate) fn wait_for_auth(&mut self) -> bool {
        self.until.replace(AUTHORIZED) != Some(AUTHORIZED)
    }

    /// A write was answered: the next pause is a short one.
    pub(crate) fn answered(&mut self) {
        self.count = 0;
    }

    /// Ends the wait for auth.
    pub(crate) fn authorized(&mut self) {
        if self.until == Some(AUTHORIZED) {
            self.until = None;
        }
    }

    /// Ends whatever it waits for: a new connection may be to a server that has recovered.
    pub(crate) fn end(&mut self) {
        self.until = None;
    }

    /// Ends it if its time is over.
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
            pause.back_off(now, retry_after, random);
            now.until(pause.deadline().unwrap()).as_millis() as u64
        };
        (0..9).map(|_| next()).collect()
    }

    #[test]
    fn pauses_double_from_a_quarter_of_a_second_to_half_a_minute() {
        let doubled = [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000];
        assert_eq!(pauses(0, 0), doubled);
        assert!(pauses(0, u64::MAX).iter().all(|pause| *pause < LONGEST_PAUSE));
    }

    #[test]
    fn a_pause_is_as_long_as_the_server_asks_and_a_little_longer() {
        assert!(pauses(7_000, 3).iter().all(|pause| *pause == 7_253));
    }

    #[test]
    fn retry_after_is_seconds_and_half_a_minute_at_most() {
        let read = ["0", "7", "30", "31", "99999999999999999999", "Wed, 21 Oct 2026", ""];
        assert_eq!(read.map(milliseconds), [0, 7_000, 30_000, 30_000, 0, 0, 0]);
    }

    #[test]
    fn a_write_sent_at_once_is_answered_with_any_status_but_429_and_503_with_retry_after() {
        for status in 200..600 {
            let is_final = verdict(status, false, None) == Verdict::Final;
            assert_eq!(is_final, status != 429, "{status}");
        }
        assert_eq!(verdict(503, false, Some("2")), Verdict::Later(2_000));
    }

    #[test]
    fn a_write_that_had_waited_is_tried_again_where_that_may_help() {
        let final_statuses = [200, 201, 204, 400, 403, 404, 409, 410, 413, 422];
        assert!(final_statuses.iter().all(|status| verdict(*status, true, None) == Verdict::Final));
        let later = [408, 425, 429, 500, 502, 503, 504];
        assert!(later.iter().all(|status| verdict(*status, true, None) == Verdict::Later(0)));
        assert_eq!(verdict(401, true, None), Verdict::Unauthorized);
    }

    #[test]
    fn a_wait_for_auth_is_not_shortened_by_a_server_that_is_busy() {
        let mut pause = Pause::new();
        assert!(pause.wait_for_auth());
        assert!(!pause.wait_for_auth(), "it is announced once");
        pause.back_off(Instant::from_millis(0), 0, 0);
        pause.tick(Instant::from_millis(u64::MAX - 1));
        assert!(pause.is_on());
        pause.authorized();
        assert!(!pause.is_on());
    }
}
