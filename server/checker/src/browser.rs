//! The task of a page: it runs the page, and loads it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backwire_records::change::Id;
use tokio::sync::{mpsc, oneshot};

use crate::act::PageAct;
use crate::page::{Page, Storage, Target};
use crate::people::name_of;
use crate::view::{Kind, Record, Selection, View};
use crate::world::{Incoming, LineFault, World};

/// A command of the runner for a page.
pub enum Command {
    Act(PageAct),
    Fault(LineFault),
    /// The page reports whether it waits for anything. It reads again what it could not read.
    Report(oneshot::Sender<Report>),
}

/// The contents of a page.
pub struct Report {
    pub name: String,
    pub person: String,
    pub is_quiet: bool,
    pub targets: Vec<(u32, Vec<Id>, Vec<View>)>,
    /// The records that the targets show.
    pub records: Vec<(Kind, Id, Option<Record>)>,
}

type Arrivals = mpsc::UnboundedReceiver<(u64, Incoming)>;

/// A browser tab, whose page can be loaded again.
struct Tab<W: World> {
    network: Arc<W>,
    name: String,
    page: Page<W>,
    arrivals: Arrivals,
    /// The reads of the app when it is loaded.
    reads: BTreeMap<u32, Vec<View>>,
}

/// Runs a tab until the commands end.
pub async fn browse<W: World>(
    network: Arc<W>,
    name: String,
    person: usize,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let storage = Storage::of(&name_of(person));
    let mut tab = Tab::load(&network, name, storage, BTreeMap::new());
    loop {
        let deadline = tab.page.deadline();
        let environment = network.environment.clone();
        let timer = async {
            match deadline {
                Some(deadline) => environment.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(command) => tab = tab.perform(command).await,
                None => return,
            },
            Some((line, incoming)) = tab.arrivals.recv() => tab.page.arrived(line, incoming),
            () = timer => tab.page.tick(),
        }
    }
}

impl<W: World> Tab<W> {
    fn load(
        network: &Arc<W>,
        name: String,
        storage: Storage,
        reads: BTreeMap<u32, Vec<View>>,
    ) -> Self {
        let (to_page, arrivals) = mpsc::unbounded_channel();
        let mut page = Page::load(network, &name, storage, to_page);
        for (target, views) in &reads {
            for (at, view) in views.iter().enumerate() {
                page.read(*target, view.clone(), at == 0);
            }
        }
        Self { network: Arc::clone(network), name, page, arrivals, reads }
    }

    /// Closes the page, and opens it again after a time.
    async fn reload(self, after: u64, person: Option<usize>) -> Self {
        let Self { network, name, mut page, reads, .. } = self;
        let mut storage = std::mem::take(&mut page.storage);
        drop(page);
        if let Some(person) = person {
            network.messages.signed_out(&format!("{name}-{}", storage.person));
            network.writes.given_up(&storage.clear());
            storage.person = name_of(person);
        }
        network.environment.sleep(Duration::from_millis(after)).await;
        Self::load(&network, name, storage, reads)
    }

    async fn perform(mut self, command: Command) -> Self {
        match command {
            Command::Act(PageAct::Read { target, view, replaces }) => {
                let views = self.reads.entry(target).or_default();
                if replaces {
                    views.clear();
                }
                views.push(view.clone());
                self.page.read(target, view, replaces);
            }
            Command::Act(PageAct::ReadOne { target, kind, pick }) => {
                if let Some(id) = self.page.pick(kind, pick) {
                    let view = View { kind, selection: Selection::One(id) };
                    self.reads.insert(target, vec![view.clone()]);
                    self.page.read(target, view, true);
                }
            }
            Command::Act(PageAct::Stop(target)) => {
                self.reads.remove(&target);
                self.page.stop(target);
            }
            Command::Act(PageAct::Write { kind, write, pick }) => {
                self.page.write(kind, &write, pick);
            }
            Command::Act(PageAct::Sleep(milliseconds)) => {
                let now = self.network.now();
                self.network.writes.sleeps(&self.name, now, milliseconds);
                self.network.environment.sleep(Duration::from_millis(milliseconds)).await;
                self.page.wake();
            }
            Command::Act(PageAct::Wake) => self.page.wake(),
            Command::Act(PageAct::Park) => {
                self.page.park();
                self.network.environment.sleep(Duration::from_secs(1)).await;
                self.page.wake();
            }
            Command::Act(PageAct::Reload) => return self.reload(1, None).await,
            Command::Act(PageAct::Away(milliseconds)) => {
                return self.reload(milliseconds, None).await;
            }
            Command::Act(PageAct::SignIn(person)) => return self.reload(1, Some(person)).await,
            Command::Fault(fault) => self.page.fault(fault),
            Command::Report(sender) => {
                self.page.retry();
                // The runner may have stopped waiting.
                let _ = sender.send(self.report());
            }
        }
        self
    }

    fn report(&self) -> Report {
        let page = &self.page;
        let target = |(id, target): (&u32, &Target)| {
            (
                *id,
                target.shown.clone(),
                target.queries.iter().map(|(_, view)| view.clone()).collect(),
            )
        };
        Report {
            name: page.name.clone(),
            person: page.person.clone(),
            is_quiet: page.is_quiet(),
            targets: page.targets.iter().map(target).collect(),
            records: page.shown_records(),
        }
    }
}
