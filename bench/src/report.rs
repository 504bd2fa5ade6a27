//! The report: ratios with their budgets, then what they are made of.

use std::fmt;

use crate::measure::{Arrivals, Sample, Series, WarmUp};

/// The results of one or more benchmarks.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) ratios: Vec<Ratio>,
    /// Results that are no ratios.
    pub(crate) tables: Vec<Table>,
    costs: Vec<Cost>,
    warm_ups: Vec<(String, String, WarmUp)>,
}

/// How much Backwire needs compared with something else.
pub(crate) struct Ratio {
    work: String,
    /// The name of the other side.
    to: String,
    /// The ratio of each round.
    rounds: Vec<f64>,
    budget: Option<Budget>,
    /// The deliveries of both sides.
    arrivals: [Vec<Arrivals>; 2],
}

/// The bound of a ratio.
#[derive(Debug, Clone, Copy)]
enum Budget {
    AtMost(f64),
    AtLeast(f64),
}

impl Budget {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(bound) => ratio <= bound,
            Self::AtLeast(bound) => ratio >= bound,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "≤ {bound:.2}"),
            Self::AtLeast(bound) => write!(f, "≥ {bound:.2}"),
        }
    }
}

/// A table of results.
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.header.iter().map(|_| "---".to_owned()).collect();
        for row in [&self.header, &line].into_iter().chain(&self.rows) {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

/// The cost of one operation in one server.
struct Cost {
    work: String,
    server: String,
    each: String,
    rate: String,
    arrivals: String,
}

impl Ratio {
    /// Of two measurements, round by round.
    pub(crate) fn new(work: String, to: &str, of: &[f64], peer: &[f64]) -> Self {
        let rounds = of.iter().zip(peer).map(|(of, peer)| of / peer).collect();
        Self { work, to: to.into(), rounds, budget: None, arrivals: Default::default() }
    }

    /// Of the CPU time of one operation of each server.
    pub(crate) fn of_cpu(
        work: String,
        to: &str,
        (of, operation): (&Series, usize),
        (peer, peer_operation): (&Series, usize),
    ) -> Self {
        let micros = |series: &Series, operation| {
            series.of(operation).map(Sample::micros).collect::<Vec<_>>()
        };
        let arrivals = |series: &Series, operation| {
            series.of(operation).filter_map(|sample| sample.arrivals).collect()
        };
        let ratio = Self::new(work, to, &micros(of, operation), &micros(peer, peer_operation));
        Self { arrivals: [arrivals(of, operation), arrivals(peer, peer_operation)], ..ratio }
    }

    /// Of the operations in a second of each server.
    pub(crate) fn of_rate(
        work: String,
        to: &str,
        (of, operation): (&Series, usize),
        (peer, peer_operation): (&Series, usize),
    ) -> Self {
        let rates =
            |series: &Series, operation| series.of(operation).map(Sample::rate).collect::<Vec<_>>();
        Self::new(work, to, &rates(of, operation), &rates(peer, peer_operation))
    }

    /// Sets the budget.
    pub(crate) fn at_most(self, budget: f64) -> Self {
        Self { budget: Some(Budget::AtMost(budget)), ..self }
    }

    /// Sets the budget of a ratio that should be large.
    pub(crate) fn at_least(self, budget: f64) -> Self {
        Self { budget: Some(Budget::AtLeast(budget)), ..self }
    }

    /// Whether the budget is met. If Backwire has lost deliveries, it is not.
    fn verdict(&self) -> String {
        let [ours, peers] =
            self.arrivals.each_ref().map(|arrivals| arrivals.iter().all(is_complete));
        let verdict = match self.budget {
            _ if !ours => "MISSED: not all delivered",
            Some(budget) if budget.is_met(median(self.rounds.clone())) => "met",
            Some(_) => "MISSED",
            None => "–",
        };
        let note = if peers { "" } else { " (the peer lost deliveries)" };
        format!("{verdict}{note}")
    }
}

impl Report {
    pub(crate) fn append(&mut self, other: Self) {
        self.ratios.extend(other.ratios);
        self.tables.extend(other.tables);
        self.costs.extend(other.costs);
        self.warm_ups.extend(other.warm_ups);
    }

    /// Adds the CPU time and rate of one operation for each server.
    pub(crate) fn add_costs(&mut self, work: &str, all: &[Series], operation: usize) {
        for series in all {
            let of = |read: fn(&Sample) -> f64| median(series.of(operation).map(read).collect());
            let (each, store) = (of(Sample::micros), of(Sample::store_micros));
            let store =
                if store > 0.0 { format!(", of which Redis {store:.1}") } else { String::new() };
            let arrivals: Vec<_> = series.of(operation).filter_map(|it| it.arrivals).collect();
            self.costs.push(Cost {
                work: work.into(),
                server: series.server.clone(),
                each: format!("{each:.2} µs CPU{store}"),
                rate: format!("{:.0}", of(Sample::rate)),
                arrivals: shown(&arrivals),
            });
        }
    }

    /// Adds the memory of one thing in one server.
    pub(crate) fn add_memory(&mut self, work: &str, server: &str, kilobytes: &[f64]) {
        self.add_cost(work, server, format!("{:.1} KB", median(kilobytes.to_vec())));
    }

    /// Adds a latency.
    pub(crate) fn add_latency(&mut self, work: &str, server: &str, micros: &[f64]) {
        self.add_cost(work, server, format!("{:.0} µs elapsed", median(micros.to_vec())));
    }

    /// Adds how many commands and scripts each server sends to Redis for one operation.
    pub(crate) fn add_round_trips(&mut self, work: &str, all: &[Series], operation: usize) {
        for series in all {
            let each = series.of(operation).map(Sample::redis_requests_each).collect();
            let each = format!("{:.2} commands and scripts", median(each));
            self.add_cost(work, &series.server, each);
        }
    }

    fn add_cost(&mut self, work: &str, server: &str, each: String) {
        let (work, server) = (work.into(), server.into());
        self.costs.push(Cost { work, server, each, rate: "–".into(), arrivals: "–".into() });
    }

    /// Adds how the warm-up of each server ended.
    pub(crate) fn add_warm_ups(&mut self, benchmark: &str, all: &[Series]) {
        for series in all {
            if let Some(warm_up) = series.warm_up {
                self.add_warm_up(benchmark, &series.server, warm_up);
            }
        }
    }

    /// Adds how the warm-up of a server ended.
    pub(crate) fn add_warm_up(&mut self, benchmark: &str, server: &str, warm_up: WarmUp) {
        self.warm_ups.push((benchmark.into(), server.into(), warm_up));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| work | Backwire ÷ | ratio (lowest to highest round) | budget | |")?;
        writeln!(f, "| --- | --- | --- | --- | --- |")?;
        for ratio in &self.ratios {
            let budget = ratio.budget.map_or_else(|| "–".into(), |it| it.to_string());
            let (lowest, highest) =
                (bound(&ratio.rounds, f64::min), bound(&ratio.rounds, f64::max));
            writeln!(
                f,
                "| {} | {} | {:.2} ({lowest:.2} to {highest:.2}) | {budget} | {} |",
                ratio.work,
                ratio.to,
                median(ratio.rounds.clone()),
                ratio.verdict()
            )?;
        }
        for table in &self.tables {
            write!(f, "\n{table}")?;
        }
        if !self.costs.is_empty() {
            writeln!(f, "\n| work | server | each | per second | delivered |")?;
            writeln!(f, "| --- | --- | --- | --- | --- |")?;
        }
        for Cost { work, server, each, rate, arrivals } in &self.costs {
            writeln!(f, "| {work} | {server} | {each} | {rate} | {arrivals} |")?;
        }
        if self.warm_ups.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n| warm-up | server | windows | change | |")?;
        writeln!(f, "| --- | --- | --- | --- | --- |")?;
        for (benchmark, server, warm_up) in &self.warm_ups {
            let &WarmUp { windows, change } = warm_up;
            let end = if warm_up.is_complete() { "" } else { "ENDED WHILE STILL CHANGING" };
            let percent = change * 100.0;
            writeln!(f, "| {benchmark} | {server} | {windows} | {percent:.1} % | {end} |")?;
        }
        Ok(())
    }
}

fn is_complete(arrivals: &Arrivals) -> bool {
    arrivals.arrived == arrivals.expected && arrivals.complete == arrivals.listeners
}

/// How much arrived in all rounds, and for how many listeners everything did.
fn shown(arrivals: &[Arrivals]) -> String {
    let Some(listeners) = arrivals.first().map(|first| first.listeners) else {
        return "–".into();
    };
    let total = |read: fn(&Arrivals) -> usize| arrivals.iter().map(read).sum::<usize>();
    let (arrived, expected) = (total(|it| it.arrived), total(|it| it.expected));
    let complete = arrivals.iter().map(|it| it.complete).min().unwrap_or_default();
    format!("{arrived} of {expected}; all to {complete} of {listeners} listeners")
}

fn bound(values: &[f64], choose: fn(f64, f64) -> f64) -> f64 {
    values.iter().copied().fold(f64::NAN, choose)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(values: &[f64]) -> Ratio {
        Ratio::new("an update".into(), "npm", values, &vec![1.0; values.len()])
    }

    #[test]
    fn median_ignores_one_bad_round() {
        assert_eq!(median(vec![1.0, 900.0, 2.0]), 2.0);
        assert_eq!(median(vec![1.0, 2.0]), 1.5);
    }

    #[test]
    fn median_decides_whether_the_budget_is_met() {
        assert_eq!(ratio(&[0.9, 1.0, 7.0]).at_most(1.0).verdict(), "met");
        assert_eq!(ratio(&[0.9, 1.01, 7.0]).at_most(1.0).verdict(), "MISSED");
        assert_eq!(ratio(&[0.9]).verdict(), "–");
        assert_eq!(ratio(&[0.9, 1.0, 7.0]).at_least(1.0).verdict(), "met");
        assert_eq!(ratio(&[0.9, 0.99, 7.0]).at_least(1.0).verdict(), "MISSED");
    }

    #[test]
    fn lost_deliveries_miss_the_budget() {
        let all = Arrivals { expected: 20, arrived: 20, listeners: 2, complete: 2 };
        let verdict = |ours, peers| {
            let ratio = Ratio { arrivals: [vec![all, ours], vec![peers]], ..ratio(&[0.5]) };
            ratio.at_most(1.0).verdict()
        };
        assert_eq!(verdict(all, all), "met");
        let lost = Arrivals { arrived: 19, complete: 1, ..all };
        assert_eq!(verdict(lost, all), "MISSED: not all delivered");
        assert_eq!(verdict(all, lost), "met (the peer lost deliveries)");
        // One got a change twice, and another lost one.
        let twice = Arrivals { complete: 0, ..all };
        assert_eq!(verdict(twice, all), "MISSED: not all delivered");
    }
}
