//! From the log to everyone who listens.
//!
//! One task takes changes from the tail, in commit order, and says each to its rooms before it takes
//! the next. So pushes leave in the order of the log, and a handler has nothing to publish.
//! Changes that came faster than they are said leave together, one frame a room.
//!
//! A client that does not read loses pushes, and Socket.IO does not say which client that was. So
//! where something was lost, the room is told later where it stands: who is behind finds out and
//! asks to resume. A stock client could not find out; one that can not take a push is disconnected.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::change::{Change, Position, Resource, Room, Verb};
use crate::criteria::Scope;
use crate::dialect::{Dialect, runtime};
use crate::model::{Membership, Models};
use crate::socket::{Audience, Sockets};

/// Changes said together at most.
const MOST: usize = 256;

/// How long a slow reader gets before its room is told where it stands.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says what is in the log.
pub(crate) struct Fanout {
    sockets: Sockets,
    models: Models,
    /// Rooms some of whose members may have missed something, and where those rooms stand.
    doubtful: HashMap<Room, Position>,
    /// Scopes that anybody follows, by what their rooms are called.
    scopes: HashMap<Resource, HashMap<String, Followed>>,
    /// When the doubtful rooms are told; of no meaning while there are none.
    announce_at: Instant,
}

/// A scope that is followed.
struct Followed {
    room: Room,
    scope: Scope,
    /// The offset of what its room was told last.
    said: u64,
}

impl Followed {
    fn of(name: &str) -> Option<Self> {
        let room = Room::parse(name)?;
        Some(Self { scope: room.scope()?, room, said: 0 })
    }
}

impl Fanout {
    pub(crate) fn new(sockets: Sockets, models: Models) -> Self {
        Self {
            sockets,
            models,
            doubtful: HashMap::new(),
            scopes: HashMap::new(),
            announce_at: Instant::now(),
        }
    }

    /// Follows the log to its end: until the engine is no more and all has been said.
    pub(crate) async fn follow(mut self, mut tail: mpsc::Receiver<Arc<Change>>) {
        let mut changes = Vec::with_capacity(MOST);
        loop {
            let is_in_doubt = !self.doubtful.is_empty();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.announce_at), if is_in_doubt => {
                    self.announce().await;
                }
                count = tail.recv_many(&mut changes, MOST) => {
                    if count == 0 {
                        return;
                    }
                    for run in changes.chunk_by(|one, next| one.resource == next.resource) {
                        self.say(run).await;
                    }
                    changes.clear();
                    // Those who read get a turn to take what was said before there is more.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Says consecutive changes of one resource.
    async fn say(&mut self, run: &[Arc<Change>]) {
        self.say_to_runtimes(run).await;
        self.say_to_scopes(run).await;
        for change in run {
            let memberships = self.models.associations().memberships(change);
            let (before, after) = around(change, &memberships);
            self.say_memberships(change, before);
            for dialect in Dialect::STOCK {
                self.say_to_stock(dialect, change).await;
            }
            self.say_memberships(change, after);
        }
    }

    /// Says whose collections a change has made a record part of, and whose no longer. Only Sails 1.x speaks of
    /// it; to all others the change says it.
    fn say_memberships(&self, change: &Change, memberships: &[Membership]) {
        for membership in memberships {
            let class = Room::class(membership.resource.clone());
            if !self.sockets.are_in(Dialect::Sails, &class) {
                continue;
            }
            let room = Room::instance(membership.resource.clone(), membership.id.clone());
            let to = Audience { room: &room, but_not: None, origin: change.origin.as_deref() };
            let (event, news) = Dialect::membership_news(membership);
            self.sockets.emit_to_each(Dialect::Sails, to, event, &news);
        }
    }

    async fn say_to_runtimes(&mut self, run: &[Arc<Change>]) {
        let Some(first) = run.first() else { return };
        let class = Room::class(first.resource.clone());
        self.push(&class, None, run).await;
        for run in run.chunk_by(|one, next| one.id == next.id) {
            // Who is in both rooms has heard it in the class room.
            let room = Room::instance(first.resource.clone(), run[0].id.clone());
            self.push(&room, Some(&class), run).await;
        }
    }

    /// Says what the changes are to those who follow a part of the resource. Each scope looks at them once,
    /// however many follow it. Who is in the class room as well hears of them twice: to a list they are news of
    /// different kinds.
    async fn say_to_scopes(&mut self, run: &[Arc<Change>]) {
        let Some(first) = run.first() else { return };
        // Those that nobody is in any more are forgotten.
        let mut former = self.scopes.remove(&first.resource).unwrap_or_default();
        let mut present = HashMap::new();
        for name in self.sockets.scoped(&first.resource) {
            let followed = former.remove(&name).or_else(|| Followed::of(&name));
            let Some(mut followed) = followed else { continue };
            let Followed { room, scope, said } = &mut followed;
            if let Some((push, last)) = runtime::scoped_push(room, scope, *said, run) {
                *said = last.offset;
                let to = Audience { room, but_not: None, origin: None };
                if !self.sockets.emit(Dialect::Runtime, to, runtime::EVENT, &push).await {
                    self.doubt(room, last);
                }
            }
            present.insert(name, followed);
        }
        if !present.is_empty() {
            self.scopes.insert(first.resource.clone(), present);
        }
    }

    async fn push(&mut self, room: &Room, but_not: Option<&Room>, changes: &[Arc<Change>]) {
        if !self.sockets.are_in(Dialect::Runtime, room) {
            return;
        }
        let Some((push, last)) = runtime::push(room, changes).zip(changes.last()) else {
            return;
        };
        let to = Audience { room, but_not, origin: None };
        if !self.sockets.emit(Dialect::Runtime, to, runtime::EVENT, &push).await {
            self.doubt(room, last.position);
        }
    }

    /// Says a change to the stock clients of one kind.
    async fn say_to_stock(&self, dialect: Dialect, change: &Change) {
        let class = Room::class(change.resource.clone());
        if !self.sockets.are_in(dialect, &class) {
            return;
        }
        let instance = Room::instance(change.resource.clone(), change.id.clone());
        let room = if change.verb == Verb::Create { &class } else { &instance };
        // Sails 0.9 tells its author of a change, too, but not whom a publisher wants to pass over.
        let hears_itself = dialect == Dialect::Sails09 && !change.published;
        let origin = change.origin.as_deref().filter(|_| !hears_itself);
        let to = Audience { room, but_not: None, origin };
        // A stock client has no positions, so one that missed this would never find out.
        if let Some((event, news)) = dialect.news(change) {
            self.sockets.emit_to_each(dialect, to, &event, &news);
        }
        match change.verb {
            Verb::Create => {
                let origin = change.origin.as_deref().filter(|_| change.published);
                let from = Audience { room: &class, but_not: None, origin };
                self.sockets.introduce(dialect, from, &instance).await;
            }
            Verb::Update => {}
            // Stock clients never leave by themselves, so the rooms of dead records would add up.
            Verb::Destroy => self.sockets.empty(dialect, &instance).await,
        }
    }

    fn doubt(&mut self, room: &Room, position: Position) {
        if self.doubtful.is_empty() {
            self.announce_at = Instant::now() + PATIENCE;
        }
        self.doubtful.insert(room.clone(), position);
    }

    /// Tells the doubtful rooms where they stand; those who still do not read are told again.
    async fn announce(&mut self) {
        for (room, position) in std::mem::take(&mut self.doubtful) {
            let to = Audience { room: &room, but_not: None, origin: None };
            let push = runtime::announcement(&room, position);
            if !self.sockets.emit(Dialect::Runtime, to, runtime::EVENT, &push).await {
                self.doubt(&room, position);
            }
        }
    }
}

/// What is said before the change itself, and what after it. In Sails a record is part of something before it is
/// told of itself, and has been taken out of something when it is destroyed or has moved.
fn around<'a>(change: &Change, all: &'a [Membership]) -> (&'a [Membership], &'a [Membership]) {
    let moves = all.iter().any(|it| it.is_new);
    let before = match change.verb {
        Verb::Destroy => 0,
        Verb::Update if moves => all.iter().filter(|it| it.is_new).count(),
        Verb::Create | Verb::Update => all.len(),
    };
    all.split_at(before)
}
