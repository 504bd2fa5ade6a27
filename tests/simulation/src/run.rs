//! Runs a story, and checks the guarantees while it runs and at its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use backwire_checker::browser::{Command, Report, browse};
use backwire_checker::lists::{check_records, check_views};
use backwire_checker::people::PEOPLE;
use backwire_checker::world::{Checks, LineFault};
use backwire_engine::Window;
use backwire_environment::simulation::Executor;
use tokio::sync::{mpsc, oneshot};

use crate::story::{Act, Step, Story};
use crate::world::{Limits, Network};

/// How long after the end of all faults the pages may take until they are up to date.
const RECOVERY: Duration = Duration::from_secs(600);

/// How long a page may still be away at the end of a story.
const MAX_AWAY: Duration = Duration::from_secs(100_000);

/// How long the network between a server and the shared store may still be cut at the end of a
/// story.
const MAX_CUT: Duration = Duration::from_secs(60);

/// How often the runner checks whether the pages are up to date.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long the last pushes may take. A page notices after 45 s that its connection is silent.
const LAST_PUSHES: Duration = Duration::from_secs(60);

/// The maximum number of steps of the executor. A run that takes more is in an endless loop.
const MAX_STEPS: u64 = 3_000_000;

/// The outcome of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How a guarantee was broken, or `None` if none was.
    pub violation: Option<String>,
    /// A hash of all packets and their times.
    pub hash: u64,
    /// All packets with their times, if the run was traced.
    pub trace: String,
}

/// Runs a story.
pub(crate) fn run(story: &Story, is_traced: bool) -> Outcome {
    let executor = Executor::new(story.seed).with_max_steps(MAX_STEPS);
    let window = Window { count: story.log_count, ..Window::default() };
    let (in_flight, unread_packets) = (story.in_flight, story.unread_packets);
    let disk_latency = story.disk_latency;
    let servers = story.servers;
    let limits = Limits { window, in_flight, unread_packets, disk_latency, servers };
    let network = Network::new(&executor, limits, is_traced);
    let future = perform(Arc::clone(&network), story.clone());
    let run = AssertUnwindSafe(|| executor.run(future));
    let panic = catch_unwind(run).err().map(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        format!("panic: {}", text.unwrap_or_default())
    });
    executor.end();
    Outcome {
        violation: panic.or_else(|| network.history.violation()),
        hash: network.trace.hash(),
        trace: network.trace.text(),
    }
}

/// Performs the actions of a story.
struct Runner {
    network: Arc<Network>,
    pages: Vec<(String, mpsc::UnboundedSender<Command>)>,
    /// The requests of the back end, which it sends one after the other.
    back_end: mpsc::UnboundedSender<BackEndAct>,
    /// See [`Story::keeps_order`].
    keeps_order: bool,
}

enum BackEndAct {
    Message(usize),
    SetEditor(usize, bool),
    /// The sender gets a value when all earlier requests are answered.
    Report(oneshot::Sender<()>),
}

async fn perform(network: Arc<Network>, story: Story) {
    network.begin().await;
    let mut pages = Vec::new();
    for (number, person) in story.pages.iter().enumerate() {
        let (commands, received) = mpsc::unbounded_channel();
        let name = format!("page{number}");
        let tab = browse(Arc::clone(&network), name.clone(), *person, received);
        network.environment.spawn(tab);
        pages.push((name, commands));
    }
    let (back_end, acts) = mpsc::unbounded_channel();
    network.environment.spawn(run_back_end(Arc::clone(&network), acts));
    let keeps_order = story.keeps_order();
    let runner = Runner { network, pages, back_end, keeps_order };
    for Step { pause, act } in &story.steps {
        runner.network.environment.sleep(Duration::from_millis(*pause)).await;
        runner.perform(act).await;
        if runner.network.history.violation().is_some() {
            return;
        }
    }
    runner.recover().await;
}

/// Runs the back end: it sends its requests one after the other.
async fn run_back_end(network: Arc<Network>, mut acts: mpsc::UnboundedReceiver<BackEndAct>) {
    let mut revocations = 0;
    while let Some(act) = acts.recv().await {
        match act {
            BackEndAct::Message(person) => {
                let pause = network.environment.random_u64() % 200;
                network.environment.sleep(Duration::from_millis(pause)).await;
                let number = network.messages.send(PEOPLE[person]);
                let room = PEOPLE[person];
                let message =
                    format!(r#"{{"rooms":["user_{room}"],"event":"note","args":[{number}]}}"#);
                network.post("/send", &message, &format!("message-{number}")).await;
            }
            BackEndAct::SetEditor(person, is_editor) => {
                network.people.set_editor(PEOPLE[person], is_editor, network.now());
                revocations += 1;
                network.revoke(PEOPLE[person], &format!("revoke-{revocations}")).await;
            }
            BackEndAct::Report(sender) => {
                // The runner may have stopped waiting.
                let _ = sender.send(());
            }
        }
    }
}

impl Runner {
    async fn perform(&self, act: &Act) {
        let send = |page: usize, command| {
            if let Some((_, commands)) = self.pages.get(page) {
                // The page ends with the run.
                let _ = commands.send(command);
            }
        };
        self.network.trace.log("story", "·", &format!("{act:?}"));
        match act {
            Act::Page(page, act) => send(*page, Command::Act(act.clone())),
            Act::Cut(page) => send(*page, Command::Fault(LineFault::Cut)),
            Act::Silence(page) => send(*page, Command::Fault(LineFault::Silence)),
            Act::Stall(page, milliseconds) => {
                send(*page, Command::Fault(LineFault::Stall(*milliseconds)))
            }
            Act::Offline(page, is_offline) => {
                for person in PEOPLE {
                    self.network.set_offline(&format!("page{page}-{person}"), *is_offline);
                }
                send(*page, Command::Fault(LineFault::Cut));
            }
            Act::Crash(server) => self.network.crash(*server),
            Act::Start(server) => self.network.start(*server).await,
            Act::Restart(server) => self.network.restart(*server).await,
            Act::Pause(server, milliseconds) => {
                self.network.pause(*server, Duration::from_millis(*milliseconds));
            }
            Act::StorageFails(milliseconds) => {
                self.network.fail_storage(Duration::from_millis(*milliseconds));
            }
            Act::CutStore(server, milliseconds) => {
                self.network.cut_store(*server, Duration::from_millis(*milliseconds));
            }
            Act::FailOver { lag, time } => {
                let [lag, time] = [*lag, *time].map(Duration::from_millis);
                self.network.fail_over(lag, time);
            }
            // The ids of messages are an hour ahead after a failover. If another one follows, and
            // loses these ids, they are given again if the clock was set back in between.
            Act::SetClock(milliseconds) if *milliseconds < 0 && self.network.has_failed_over() => {}
            Act::SetClock(milliseconds) => self.network.set_wall_clock(*milliseconds),
            Act::Messages { person, count } => {
                for _ in 0..*count {
                    self.ask_back_end(BackEndAct::Message(*person));
                }
            }
            Act::SetEditor(person, is_editor) => {
                self.ask_back_end(BackEndAct::SetEditor(*person, *is_editor));
            }
        }
    }

    fn ask_back_end(&self, act: BackEndAct) {
        // The back end receives as long as the run lasts.
        let _ = self.back_end.send(act);
    }

    /// Ends all faults, waits until the pages are up to date, and checks that they are.
    async fn recover(&self) {
        self.network.trace.log("story", "·", "recover");
        self.network.heal();
        // A server does not start while it cannot reach the store.
        self.network.environment.sleep(MAX_CUT).await;
        self.network.start_all().await;
        let environment = &self.network.environment;
        let (sender, answered) = oneshot::channel();
        self.ask_back_end(BackEndAct::Report(sender));
        let begin = environment.now();
        let _ = environment.timeout(RECOVERY, answered).await;
        loop {
            if self.reports().await.iter().all(|report| report.is_quiet) {
                environment.sleep(LAST_PUSHES).await;
                if self.reports().await.iter().all(|report| report.is_quiet) {
                    break;
                }
            }
            if environment.now() - begin > RECOVERY + MAX_AWAY {
                let reports = self.reports().await;
                let waiting = reports.iter().filter(|it| !it.is_quiet).map(|it| it.name.clone());
                let waiting: Vec<_> = waiting.collect();
                self.network
                    .history
                    .violated(format!("{waiting:?} got no answers after the faults had ended"));
                break;
            }
            environment.sleep(CHECK_INTERVAL).await;
        }
        self.network.check_rights();
        for report in self.reports().await {
            check_views(&self.network, &report);
            check_records(&self.network, &report);
        }
        let Checks { writes, history, people, .. } = &**self.network;
        writes.check(history, people);
        if self.keeps_order {
            writes.check_order(history);
        }
        self.network.messages.check(&self.network.history);
    }

    async fn reports(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        for (_, commands) in &self.pages {
            let (sender, report) = oneshot::channel();
            let _ = commands.send(Command::Report(sender));
            reports.extend(report.await);
        }
        reports
    }
}
