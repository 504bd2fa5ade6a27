//! What comes out: a row for each kind of work, and how it stands to what is allowed.

use std::fmt;
use std::time::Duration;

use crate::lists::List;
use crate::load::{Heard, Written};
use crate::peer::Kind;

/// All measurements.
#[derive(Default)]
pub(crate) struct Table {
    rounds: Vec<(Kind, Heard, Wrote)>,
    /// Backwire's with filters, round by round.
    filtered: Vec<Heard>,
    /// What each list cost Backwire, in the order of [`List::ALL`], round by round.
    lists: Vec<Vec<Duration>>,
}

/// What came of each way of writing.
pub(crate) struct Wrote {
    pub(crate) create: Written,
    pub(crate) update: Written,
    pub(crate) destroy: Written,
}

/// How a row is read from what one peer did in one round.
type Read = fn(&Heard, &Wrote) -> f64;

struct Row {
    name: &'static str,
    read: Read,
    digits: usize,
    budget: Option<Budget>,
}

/// The most that is allowed, given the median of the bare program; and in words.
type Budget = (fn(f64) -> f64, &'static str);

/// Of a write that is on the disk before it is answered.
const DURABLE: Option<Budget> = Some((|_| 50.0, "≤ 50, durable"));

const ROWS: [Row; 9] = [
    Row {
        name: "create with ack, 50 connections: server CPU, µs",
        read: |_, wrote| micros(wrote.create.cpu),
        digits: 1,
        budget: DURABLE,
    },
    Row {
        name: "update with ack, 50 connections: server CPU, µs",
        read: |_, wrote| micros(wrote.update.cpu),
        digits: 1,
        budget: DURABLE,
    },
    Row {
        name: "… updates per second",
        read: |_, wrote| wrote.update.rate,
        digits: 0,
        budget: None,
    },
    Row {
        name: "destroy with ack, 50 connections: server CPU, µs",
        read: |_, wrote| micros(wrote.destroy.cpu),
        digits: 1,
        budget: DURABLE,
    },
    Row {
        name: "one delivery, 8 creates in flight: server CPU, µs",
        read: |heard, _| micros(heard.delivery_cpu),
        digits: 2,
        budget: Some((|bare| bare * 1.5, "≤ 1.5 × bare")),
    },
    Row {
        name: "… of all deliveries arrived, %",
        read: |heard, _| heard.arrived * 100.0,
        digits: 1,
        budget: None,
    },
    Row {
        name: "idle subscribed socket: memory, KB",
        read: |heard, _| heard.memory / 1024.0,
        digits: 1,
        budget: Some((|bare| bare + 4.0, "≤ bare + 4")),
    },
    Row {
        name: "connected and subscribed per second",
        read: |heard, _| heard.connects,
        digits: 0,
        budget: None,
    },
    Row {
        name: "… server CPU each, µs",
        read: |heard, _| micros(heard.connect_cpu),
        digits: 0,
        budget: None,
    },
];

/// The most that a delivery may cost with filters, in what it costs without.
const FILTERED: f64 = 1.3;

/// The most that a short list may cost, in microseconds.
const LIST: f64 = 300.0;

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl Table {
    pub(crate) fn add(&mut self, kind: Kind, heard: Heard, wrote: Wrote) {
        self.rounds.push((kind, heard, wrote));
    }

    pub(crate) fn add_filtered(&mut self, heard: Heard) {
        self.filtered.push(heard);
    }

    pub(crate) fn add_lists(&mut self, each: Vec<Duration>) {
        self.lists.push(each);
    }

    /// What a delivery costs with filters, in what it costs without.
    fn filters(&self) -> f64 {
        let plain = self.of(Kind::Backwire, |heard, _| micros(heard.delivery_cpu));
        let filtered = self.filtered.iter().map(|heard| micros(heard.delivery_cpu));
        median(filtered.zip(plain).map(|(filtered, plain)| filtered / plain).collect())
    }

    fn of(&self, kind: Kind, read: Read) -> Vec<f64> {
        let ours = self.rounds.iter().filter(|(whose, ..)| *whose == kind);
        ours.map(|(_, heard, wrote)| read(heard, wrote)).collect()
    }

    /// Backwire's share of a peer's, round by round.
    fn ratio(&self, to: Kind, read: Read) -> f64 {
        let (ours, theirs) = (self.of(Kind::Backwire, read), self.of(to, read));
        median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect())
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| work |")?;
        for kind in Kind::ALL {
            write!(f, " {} |", kind.name())?;
        }
        writeln!(f, " ÷ bare | ÷ npm | budget |\n| --- | --- | --- | --- | --- | --- | --- |")?;
        for Row { name, read, digits, budget } in ROWS {
            write!(f, "| {name} |")?;
            let [ours, bare, node] = Kind::ALL.map(|kind| median(self.of(kind, read)));
            for value in [ours, bare, node] {
                write!(f, " {value:.digits$} |")?;
            }
            let [to_bare, to_node] = [Kind::Bare, Kind::Node].map(|to| self.ratio(to, read));
            write!(f, " {to_bare:.2} | {to_node:.2} |")?;
            match budget {
                Some((most, words)) if ours <= most(bare) => writeln!(f, " {words}: kept |")?,
                Some((_, words)) => writeln!(f, " {words}: MISSED |")?,
                None => writeln!(f, " |")?,
            }
        }
        let ratio = self.filters();
        let verdict = judged(ratio <= FILTERED);
        let arrived = median(self.filtered.iter().map(|heard| heard.arrived * 100.0).collect());
        writeln!(
            f,
            "\nOne delivery, listeners in 10 filters ÷ all in one room: {ratio:.2} (at most {FILTERED}: {verdict}); {arrived:.1} % arrived"
        )?;
        for (index, list) in List::ALL.into_iter().enumerate() {
            let each = median(self.lists.iter().map(|lists| micros(lists[index])).collect());
            let (name, verdict) = (list.name(), judged(each <= LIST));
            writeln!(f, "A list, {name}: server CPU {each:.0} µs (at most {LIST:.0}: {verdict})")?;
        }
        Ok(())
    }
}

fn judged(is_kept: bool) -> &'static str {
    if is_kept { "kept" } else { "MISSED" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_not_moved_by_one_bad_round() {
        assert_eq!(median(vec![1.0, 900.0, 2.0]), 2.0);
        assert_eq!(median(vec![1.0, 2.0]), 1.5);
    }
}
