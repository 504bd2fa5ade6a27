//! The verdict on an attack, which may do this: raise the server's memory a little, and delay the
//! innocent client a little.

use std::fmt;
use std::time::Duration;

/// The most by which an attack may raise the memory of the server.
const MAX_MEMORY: u64 = 256 << 20;

/// The p99 of the innocent client may always be this long,
const MAX_P99: Duration = Duration::from_millis(50);

/// or so many times as long as without the attack.
const MAX_SLOWDOWN: u32 = 10;

/// The first lines of the table.
pub(crate) const HEADER: &str = "\
| attack | memory peak above idle | innocent p99 | idle p99 | what the attacker got | verdict |
| --- | --- | --- | --- | --- | --- |";

/// The answers that the innocent client got.
#[derive(Debug, Default, Clone)]
pub(crate) struct Latencies {
    /// From the request to its answer. A request that failed counts with the time until it did.
    pub(crate) all: Vec<Duration>,
    /// Requests for `/health` without a 200.
    pub(crate) failed_health: usize,
    /// Other requests without an answer.
    pub(crate) failed: usize,
}

/// The measurements of one attack.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The bytes by which the memory of the server rose, or `None` if the server has ended.
    pub(crate) memory: Option<u64>,
    pub(crate) idle: Latencies,
    pub(crate) under_attack: Latencies,
    /// The responses that the attacker got, and how often.
    pub(crate) outcomes: Vec<(String, u64)>,
}

impl Latencies {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// 99 of 100 requests take no longer.
    pub(crate) fn p99(&self) -> Duration {
        let mut all = self.all.clone();
        all.sort_unstable();
        let rank = (all.len() * 99).div_ceil(100);
        all.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl Measured {
    /// The violated limits. A server that withstands the attack has none.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        match self.memory {
            None => problems.push("the server ended".to_owned()),
            Some(bytes) if bytes > MAX_MEMORY => problems.push("memory".to_owned()),
            Some(_) => {}
        }
        if self.under_attack.p99() > MAX_P99.max(self.idle.p99() * MAX_SLOWDOWN) {
            problems.push("p99".to_owned());
        }
        if self.under_attack.failed_health > 0 || self.under_attack.is_empty() {
            problems.push(format!("/health failed {} times", self.under_attack.failed_health));
        }
        if self.under_attack.failed > 0 {
            problems.push(format!("{} innocent requests failed", self.under_attack.failed));
        }
        problems
    }
}

/// The rest of a row of the table.
impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.memory {
            Some(bytes) => write!(f, "{} MB | ", bytes >> 20)?,
            None => write!(f, "– | ")?,
        }
        let millis = |latencies: &Latencies| latencies.p99().as_secs_f64() * 1000.0;
        write!(f, "{:.1} ms | {:.1} ms | ", millis(&self.under_attack), millis(&self.idle))?;
        let outcomes = self.outcomes.iter().map(|(outcome, count)| format!("{count} × {outcome}"));
        write!(f, "{} | ", outcomes.collect::<Vec<_>>().join(", "))?;
        match &self.problems()[..] {
            [] => write!(f, "passed |"),
            problems => write!(f, "FAILED: {} |", problems.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(millis: impl IntoIterator<Item = u64>) -> Latencies {
        let all = millis.into_iter().map(Duration::from_millis).collect();
        Latencies { all, ..Latencies::default() }
    }

    fn measured(idle: u64, under_attack: u64) -> Measured {
        Measured {
            memory: Some(MAX_MEMORY),
            idle: latencies([idle]),
            under_attack: latencies([under_attack]),
            outcomes: vec![("200".to_owned(), 3)],
        }
    }

    #[test]
    fn p99_is_exceeded_by_one_delay_in_a_hundred() {
        assert_eq!(latencies(1..=100).p99(), Duration::from_millis(99));
        assert_eq!(latencies(1..=1000).p99(), Duration::from_millis(990));
        assert_eq!(latencies([7, 3]).p99(), Duration::from_millis(7));
        assert_eq!(latencies([]).p99(), Duration::ZERO);
    }

    #[test]
    fn delay_up_to_50_ms_or_ten_times_the_idle_delay_is_allowed() {
        assert!(measured(1, 50).problems().is_empty());
        assert_eq!(measured(1, 51).problems(), ["p99"]);
        assert!(measured(6, 60).problems().is_empty());
        assert_eq!(measured(6, 61).problems(), ["p99"]);
    }

    #[test]
    fn high_memory_failed_health_check_and_server_exit_are_problems() {
        let more = Measured { memory: Some(MAX_MEMORY + 1), ..measured(1, 1) };
        assert_eq!(more.problems(), ["memory"]);
        let ended = Measured { memory: None, ..measured(1, 1) };
        assert_eq!(ended.problems(), ["the server ended"]);
        let mut stopped = measured(1, 1);
        stopped.under_attack.failed_health = 2;
        assert_eq!(stopped.problems(), ["/health failed 2 times"]);
        let silent = Measured { under_attack: Latencies::default(), ..measured(1, 1) };
        assert_eq!(silent.problems(), ["/health failed 0 times"]);
    }

    #[test]
    fn row_contains_the_measurements_and_the_verdict() {
        let row = measured(1, 60).to_string();
        assert_eq!(row, "256 MB | 60.0 ms | 1.0 ms | 3 × 200 | FAILED: p99 |");
    }
}
