//! Backwire beside another build of it, to show that a change costs ordinary work nothing.

use anyhow::Result;

use crate::connects::Connects;
use crate::deliveries::{Deliveries, IN_FLIGHT, Listeners};
use crate::dialect::Dialect;
use crate::measure::{Schedule, Series, Workload, measure_new_processes};
use crate::peer::{Kind, Peer, Programs};
use crate::report::{Ratio, Report};
use crate::writes::{OPERATIONS, Writes};

/// "No worse" means at most this much of the CPU time of the build before.
const BUDGET: f64 = 1.05;

/// The builds, in the order of the series.
const BUILDS: [(Kind, &str); 3] = [
    (Kind::Backwire, "Backwire"),
    (Kind::Before, "Backwire before"),
    (Kind::Before, "Backwire before, again"),
];

/// The clients.
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

/// Measures the load of each kind of clients on both builds, and on the build before a second time.
/// The second ratio shows how exact the first is.
async fn compare<W: Workload>(
    programs: &Programs,
    schedule: Schedule,
    clients: &[(Dialect, &str)],
    works: &[String],
    load: impl AsyncFn(Peer, Dialect) -> Result<W>,
) -> Result<Report> {
    let mut report = Report::default();
    for &(dialect, client) in clients {
        eprintln!(" {client}");
        let names = BUILDS.map(|(_, name)| name.to_owned());
        let start =
            async |index: usize| load(programs.start(BUILDS[index].0).await?, dialect).await;
        let series = measure_new_processes(&names, start, schedule).await?;
        report_builds(&mut report, &series, client, works);
    }
    Ok(report)
}

/// Adds the ratios and the costs of all builds.
fn report_builds(report: &mut Report, series: &[Series], client: &str, works: &[String]) {
    let [new, before, again] = series else { unreachable!("there are three servers") };
    for (operation, work) in works.iter().enumerate() {
        let work = format!("{work}, {client}");
        let ratio = |work, of| Ratio::of_cpu(work, "before", (of, operation), (before, operation));
        report.ratios.push(ratio(work.clone(), new).at_most(BUDGET));
        report.ratios.push(ratio(format!("{work}: the build before again"), again));
        report.add_costs(&work, series, operation);
    }
}
