//! Backwire beside another build of it, to show that a change costs ordinary work nothing.

use anyhow::Result;

use crate::connects::Connects;
use crate::deliveries::{Deliveries, IN_FLIGHT, Listeners};
use crate::dialect::Dialect;
use crate::measure::{Schedule, Series, Workload, measure};
use crate::peer::{Kind, Peer, Programs};
use crate::report::{Ratio, Report};
use crate::writes::{OPERATIONS, Writes};

/// "No worse" means at most this much of the CPU time of the build before.
const BUDGET: f64 = 1.05;

/// The builds, in the order of the series.
const BUILDS: [Kind; 2] = [Kind::Backwire, Kind::Before];

/// The clients, in the order of the pairs of series.
const CLIENTS: [(Dialect, &str); 2] =
    [(Dialect::Runtime, "our runtime"), (Dialect::Stock, "stock clients")];

/// Durable writes of both kinds of clients.
pub(crate) async fn writes(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let works = OPERATIONS.map(|(_, verb)| format!("durable {verb} with ack"));
    let load = async |peer, dialect| Writes::start(peer, dialect).await;
    compare(programs, schedule, &CLIENTS, &works, load).await
}

/// Deliveries to 1,000 listeners of both kinds.
pub(crate) async fn deliveries(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let works = IN_FLIGHT.map(|in_flight| format!("one delivery, {in_flight} creates in flight"));
    let load = async |peer, dialect| {
        let listeners = Listeners { count: 1_000, dialect, filters: 0 };
        Deliveries::start(peer, listeners, &IN_FLIGHT).await
    };
    compare(programs, schedule, &CLIENTS, &works, load).await
}

/// Connecting and subscribing.
pub(crate) async fn connects(programs: &Programs, schedule: Schedule) -> Result<Report> {
    let load = async |peer, _| Ok(Connects(peer));
    compare(programs, schedule, &CLIENTS[..1], &["connect and subscribe".to_owned()], load).await
}

/// Measures the load of each kind of clients on both builds.
async fn compare<W: Workload>(
    programs: &Programs,
    schedule: Schedule,
    clients: &[(Dialect, &str)],
    works: &[String],
    load: impl AsyncFn(Peer, Dialect) -> Result<W>,
) -> Result<Report> {
    let mut targets = Vec::new();
    for &(dialect, client) in clients {
        for kind in BUILDS {
            let workload = load(programs.start(kind).await?, dialect).await?;
            targets.push((format!("{}, {client}", kind.name()), workload));
        }
    }
    let series = measure(targets, schedule).await?;
    let mut report = Report::default();
    for (pair, (_, client)) in series.chunks(BUILDS.len()).zip(clients) {
        report_pair(&mut report, pair, client, works);
    }
    Ok(report)
}

/// Adds the ratios and the costs of both builds.
fn report_pair(report: &mut Report, pair: &[Series], client: &str, works: &[String]) {
    for (operation, work) in works.iter().enumerate() {
        let work = format!("{work}, {client}");
        let (of, before) = ((&pair[0], operation), (&pair[1], operation));
        report.ratios.push(Ratio::of_cpu(work.clone(), "before", of, before).at_most(BUDGET));
        report.add_costs(&work, pair, operation);
    }
    report.add_warm_ups("both builds", pair);
}
