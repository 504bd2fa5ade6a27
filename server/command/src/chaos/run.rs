//! A run, from its beginning to its verdict.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backwire_checker::browser::{Command, Report, browse};
use backwire_checker::lists::wrong_lists;
use backwire_checker::recorder::Recorder;
use backwire_checker::view::Kind;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use url::Url;

use super::Plan;
use super::back_end;
use super::deployment::Deployment;
use super::endpoint::Endpoint;
use super::fault::Fault;
use super::faults::inject;
use super::interrupts::Interrupts;
use super::load::act;
use super::meter::{Second, percentile};
use super::own_server::OwnServer;
use super::proxy::Proxy;
use super::report;
use super::verdict::{Outcome, Verdict};
use crate::output::{print, print_line};

/// How long the server may take to answer a request of the run itself, such as one of a recorder.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long after the end of all faults the clients may have requests in flight. A client notices
/// after 45 s that its connection is half-open.
const MAX_RECOVERY: Duration = Duration::from_secs(180);

/// How long after this recovery lists may be out of date.
const LAST_PUSHES: Duration = Duration::from_secs(90);

/// How often the recorder reads the log. The server has to keep the log for this long.
const RECORD_INTERVAL: Duration = Duration::from_secs(3);

/// How often the state of the clients is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

type Pages = Vec<mpsc::UnboundedSender<Command>>;

/// Runs a plan, and prints the verdict.
pub async fn run(plan: &Plan) -> io::Result<Outcome> {
    if let Some(file) = &plan.report {
        report::check_file(file)?;
    }
    let run = format!("chaos-{:012x}", rand::random::<u64>() >> 16);
    let runner = Runner::prepare(plan, &run).await?;
    let (verdict, server) = runner.run(plan).await?;
    let outcome = verdict.outcome();
    let mut text = verdict.to_string();
    if let (Outcome::Broken, Some(mut server)) = (outcome, server) {
        let folder = server.keep_folder().display();
        text += &format!("the database and the log of the server are in {folder}\n");
    }
    let mut printed = print(text);
    if let Some(file) = &plan.report {
        report::write(&verdict, file)?;
        printed = printed.and_then(|()| print_line(format_args!("report: {}", file.display())));
    }
    match outcome {
        Outcome::Kept => printed.map(|()| outcome),
        // A script needs the exit code, also if nobody reads the verdict.
        _ => Ok(outcome),
    }
}

/// Runs the clients and the faults of a plan, and checks the guarantees.
struct Runner {
    deployment: Arc<Deployment>,
    server: Option<OwnServer>,
    key: String,
    /// Follows the log during the run.
    recorder: Recorder<Deployment>,
    /// Reads the whole log at the end, from the first position.
    late_recorder: Recorder<Deployment>,
}

impl Runner {
    /// Starts the server, unless the plan has the url of one, and reads the resource.
    async fn prepare(plan: &Plan, run: &str) -> io::Result<Self> {
        let key = format!("{:032x}", rand::random::<u128>());
        let (server, target, endpoint) = match &plan.url {
            Some(url) => {
                let (target, endpoint) = check_endpoint(url, plan.ca.as_deref()).await?;
                (None, target, endpoint)
            }
            None => {
                let sites = back_end::serve(run, &key).await?;
                let mut server = OwnServer::new(run, &plan.engine, &sites)?;
                let address = server.start()?;
                (Some(server), address.clone(), Endpoint::new(&format!("ws://{address}")))
            }
        };
        let proxy = Proxy::to(target).await?;
        let site = server.as_ref().map(|_| run.to_owned());
        let resource = plan.resource.as_deref().unwrap_or(run);
        let deployment = Deployment::new(run, resource, proxy, endpoint, site);
        let begin = |name: &str| {
            let (name, deployment) = (format!("{run}-{name}"), Arc::clone(&deployment));
            async move {
                let person = "recorder";
                let recorder =
                    Recorder::begin(&deployment, &name, person, Kind::Todo, REQUEST_TIMEOUT);
                recorder.await.map_err(io::Error::other)
            }
        };
        let mut late_recorder = begin("late-recorder").await?;
        late_recorder.touch(REQUEST_TIMEOUT).await.map_err(io::Error::other)?;
        let recorder = begin("recorder").await?;
        deployment.history.begin(Kind::Todo, recorder.base());
        Ok(Self { deployment, server, key, recorder, late_recorder })
    }

    async fn run(mut self, plan: &Plan) -> io::Result<(Verdict, Option<OwnServer>)> {
        let mut interrupts = Interrupts::new()?;
        let mut random = StdRng::seed_from_u64(plan.seed);
        let mut fork = || StdRng::seed_from_u64(random.random());
        let (stop_sender, stop) = watch::channel(false);
        let faults: Vec<Fault> = plan.faults.clone();
        let (deployment, server) = (Arc::clone(&self.deployment), self.server.take());
        let has_site = server.is_some();
        let inject = inject(deployment, server, faults, plan.clients, fork(), stop.clone());
        let inject = tokio::spawn(inject);
        let back_end = has_site.then(|| {
            let (deployment, key) = (Arc::clone(&self.deployment), self.key.clone());
            let people = plan.clients.div_ceil(3);
            let send = back_end::send_messages(deployment, key, people, fork(), stop.clone());
            tokio::spawn(send)
        });
        let (mut pages, mut tabs) = (Pages::new(), Vec::new());
        for client in 0..plan.clients {
            let (commands, received) = mpsc::unbounded_channel();
            let name = format!("{}-{client}", self.deployment.name);
            let person = client % plan.clients.div_ceil(3);
            tabs.push(tokio::spawn(browse(Arc::clone(&self.deployment), name, person, received)));
            tokio::spawn(act(commands.clone(), plan.clients, fork(), stop.clone()));
            pages.push(commands);
        }
        let record = tokio::spawn(record(self.recorder, stop.clone()));
        let inject = wait_for_end(&self.deployment, plan, inject, &mut interrupts).await;
        stop_sender.send_replace(true);
        let server = inject.await.map_err(io::Error::other)??;
        if let Some(back_end) = back_end {
            back_end.await.map_err(io::Error::other)?;
        }
        self.recorder = record.await.map_err(io::Error::other)?;
        let mut verdict = Verdict::of(plan, Arc::clone(&self.deployment));
        // While Redis is down, the server refuses writes. When Redis is back, later writes may be
        // committed before the repeats of these.
        let keeps_order = has_site && !plan.faults.iter().any(|fault| fault.is_of_redis());
        let check = self.check(&pages, &mut verdict, keeps_order);
        let is_interrupted = tokio::select! {
            () = check => false,
            () = interrupts.next() => true,
        };
        if is_interrupted {
            verdict.not_checked("the check was interrupted".to_owned());
        }
        verdict.end();
        // The checked log ends here, so the clients end before further changes are made.
        for tab in tabs {
            tab.abort();
            // The error says that the task was aborted.
            let _ = tab.await;
        }
        if plan.is_shared() {
            let destroyed = self.late_recorder.clean_up(REQUEST_TIMEOUT).await;
            verdict.cleaned_up(destroyed);
        }
        Ok((verdict, server))
    }

    /// Waits until the clients are up to date, and checks all guarantees.
    async fn check(&mut self, pages: &Pages, verdict: &mut Verdict, keeps_order: bool) {
        let deployment = Arc::clone(&self.deployment);
        progress_note("the faults are over: waiting until all clients are up to date");
        let begin = Instant::now();
        loop {
            let reports = reports(pages).await;
            let waiting: Vec<_> = reports.iter().filter(|it| !it.is_quiet).collect();
            if waiting.is_empty() && reports.len() == pages.len() {
                break;
            }
            if begin.elapsed() > MAX_RECOVERY {
                let names: Vec<_> = waiting.iter().map(|report| &*report.name).collect();
                let message = format!(
                    "clients got no answers within {MAX_RECOVERY:?} after the faults: {}",
                    names.join(", ")
                );
                deployment.history.violated(message);
                break;
            }
            sleep(POLL_INTERVAL).await;
        }
        if let Err(message) = self.recorder.catch_up(REQUEST_TIMEOUT).await {
            verdict.not_checked(message);
        }
        let Some(changes) = self.recorder.changes() else {
            return verdict.not_checked(
                "the log of the server no longer has all changes of the run, so the records that \
                 clients have seen cannot be compared with it: raise log_count"
                    .to_owned(),
            );
        };
        changes.iter().for_each(|change| deployment.history.committed(change));
        verdict.observed(deployment.history.complete());
        check_lists(pages, &deployment, verdict).await;
        deployment.writes.check(&deployment.history, &deployment.people);
        if keeps_order {
            deployment.writes.check_order(&deployment.history);
        }
        self.check_late_log(verdict).await;
    }

    /// Checks that a resume from the first position returns the same log as the pushes.
    async fn check_late_log(&mut self, verdict: &mut Verdict) {
        if let Err(message) = self.late_recorder.catch_up(REQUEST_TIMEOUT).await {
            return self.deployment.history.violated(message);
        }
        match (self.recorder.changes(), self.late_recorder.changes()) {
            (Some(followed), Some(late)) => {
                let pairs = followed.iter().zip(late);
                let differ = pairs.clone().find(|(one, other)| one != other);
                if let Some((followed, late)) = differ {
                    let message = format!(
                        "a resume from the first position returns {late:?}, and a client that \
                         follows the log got {followed:?}"
                    );
                    self.deployment.history.violated_for(Kind::Todo, &late.id, message);
                } else if followed.len() != late.len() {
                    let (followed, late) = (followed.len(), late.len());
                    self.deployment.history.violated(format!(
                        "a resume from the first position returns {late} changes, and a client \
                         that follows the log got {followed}"
                    ));
                }
                verdict.resumed(late.len());
            }
            _ => verdict.not_checked(
                "a resume from the first position: the log no longer reaches back that far, or \
                 the answer would be too large"
                    .to_owned(),
            ),
        }
    }
}

/// Checks that a client can connect to the server of the user. Returns its host and port, and its
/// endpoint.
async fn check_endpoint(url: &Url, ca: Option<&Path>) -> io::Result<(String, Endpoint)> {
    let host = url.host_str().unwrap_or_default();
    let target = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
    let mut endpoint = Endpoint::new(&format!("{scheme}://{target}"));
    if let Some(file) = ca {
        endpoint = endpoint.trusting(file)?;
    }
    endpoint.check(target.clone()).await?;
    Ok((target, endpoint))
}

/// Waits until all lists and messages are correct. Records violations if they are not in time.
async fn check_lists(pages: &Pages, deployment: &Deployment, verdict: &mut Verdict) {
    let begin = Instant::now();
    loop {
        let reports = reports(pages).await;
        let wrong = reports.iter().flat_map(|report| wrong_lists(deployment, report));
        let wrong: Vec<_> = wrong.chain(deployment.messages.violations()).collect();
        if wrong.is_empty() || begin.elapsed() > LAST_PUSHES {
            verdict.listed(reports.iter().map(|report| report.targets.len()).sum());
            wrong.into_iter().for_each(|message| deployment.history.violated(message));
            return;
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Reads the log until the run stops.
async fn record(
    mut recorder: Recorder<Deployment>,
    mut stop: watch::Receiver<bool>,
) -> Recorder<Deployment> {
    loop {
        tokio::select! {
            () = sleep(RECORD_INTERVAL) => {}
            _ = stop.wait_for(|is_over| *is_over) => return recorder,
        }
        if let Err(error) = recorder.catch_up(REQUEST_TIMEOUT).await {
            tracing::debug!("{error}");
        }
    }
}

async fn reports(pages: &Pages) -> Vec<Report> {
    let mut waiting = Vec::new();
    for commands in pages {
        let (sender, report) = oneshot::channel();
        // If the page has ended, there is no report of it.
        let _ = commands.send(Command::Report(sender));
        waiting.push(report);
    }
    let mut reports = Vec::new();
    for report in waiting {
        reports.extend(report.await);
    }
    reports
}

/// Waits for the end of the run, and shows its progress. The run ends earlier after an interrupt,
/// or if the server does not start again.
async fn wait_for_end<T>(
    deployment: &Deployment,
    plan: &Plan,
    inject: JoinHandle<T>,
    interrupts: &mut Interrupts,
) -> JoinHandle<T> {
    let is_terminal = io::stderr().is_terminal();
    let interval = Duration::from_millis(if is_terminal { 250 } else { 5_000 });
    let end = Instant::now() + Duration::from_secs(plan.seconds);
    while Instant::now() < end && !inject.is_finished() {
        let pause = interval.min(end.saturating_duration_since(Instant::now()));
        tokio::select! {
            () = sleep(pause) => {}
            () = interrupts.next() => break,
        }
        let line = progress(deployment, plan);
        // The standard error may be closed.
        let _ = if is_terminal {
            write!(io::stderr(), "\r\x1b[2K{line}")
        } else {
            writeln!(io::stderr(), "{line}")
        };
    }
    if is_terminal {
        let _ = writeln!(io::stderr());
    }
    inject
}

fn progress(deployment: &Deployment, plan: &Plan) -> String {
    let meter = &deployment.meter;
    let seconds = meter.seconds();
    let total = |of: fn(&Second) -> u64| seconds.iter().map(of).sum::<u64>();
    let recent = seconds.iter().rev().take(5).flat_map(|second| second.lags.iter().copied());
    let mut recent: Vec<u32> = recent.collect();
    format!(
        "{:>3.0} of {} s  {} online  writes {}  deliveries {}  faults {}  lag p50 {} ms, p99 {} ms",
        meter.elapsed(),
        plan.seconds,
        meter.online_now(),
        total(|second| second.writes),
        total(|second| second.deliveries),
        meter.faults().len(),
        percentile(&mut recent, 0.5),
        percentile(&mut recent, 0.99),
    )
}

fn progress_note(text: &str) {
    // The standard error may be closed.
    let _ = writeln!(io::stderr(), "{text}");
}
