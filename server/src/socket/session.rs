//! Sessions of Engine.IO: how many wait for their CONNECT, and how much of what they are sent they have taken.
//!
//! A handshake by polling costs a client one request, and the server some memory until the session ends. So few
//! sessions of an address may be without a CONNECT, and each for a short time. Honest clients send it within a round
//! trip. Beyond the limit, the oldest session makes room if it is older than [`GRACE`], as one of an attacker
//! soon is; otherwise the new one is refused and tries again. So many clients behind one address, which connect
//! at the same time, neither end each other's sessions nor are kept out by one that opens sessions for nothing.
//!
//! A session that begins as a WebSocket has a TCP connection, and those have limits of their own. So it has only the
//! deadline. A client of Engine.IO 3 is connected without a CONNECT; what counts is its next request.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use socketioxide::socket::{Sid, Socket};
use tokio::time::Instant;

use super::engine_request::EngineRequest;
use super::large_packets::LargePackets;
use super::output::Output;
use crate::http::connections::Full;
use crate::http::listener::Plug;
use crate::memory_budget::Claim;
use crate::settings::Limit;

/// A session without a CONNECT is younger, unless its client has no intention to send one.
const GRACE: Duration = Duration::from_secs(2);

/// How much there may be of what waits for a CONNECT.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectLimits {
    pub(super) per_address: usize,
    pub(super) in_all: usize,
    pub(super) deadline: Duration,
}

/// All sessions of a server.
#[derive(Debug)]
pub(super) struct Sessions {
    limits: ConnectLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Polling sessions that may be without a CONNECT, the oldest first.
    unconnected: Vec<Weak<Session>>,
    /// Sessions that have a deadline, the first first.
    deadlines: VecDeque<(Instant, Weak<Session>)>,
    is_watched: bool,
    polling: HashMap<Sid, Weak<Session>>,
    /// At this size, sessions that have ended are removed.
    purge_at: usize,
}

/// One session. It is among the extensions of its handshake, which live as long.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) handshake: EngineRequest,
    sessions: Weak<Sessions>,
    address: Option<IpAddr>,
    opened: Instant,
    /// Whether its deadline for a CONNECT is among those that are watched.
    has_deadline: AtomicBool,
    id: OnceLock<Sid>,
    progress: Mutex<Progress>,
    /// Bytes that it has taken by polling.
    polled: AtomicU64,
    last: Mutex<LastTransport>,
    /// The claim of a message that has arrived and is not an event yet.
    arrived: Mutex<Option<Claim>>,
    /// Bytes of the events that wait to be answered and have no claim.
    unclaimed: AtomicUsize,
    /// The reader of its WebSocket, which waits until there are fewer.
    reader: AtomicWaker,
    /// The packets that it was sent and has not read.
    pub(super) output: Arc<Output>,
    /// Those among it that are large.
    pub(super) large_packets: LargePackets,
}

#[derive(Debug, Default)]
struct Progress {
    is_connected: bool,
    /// CONNECTs that are being decided on.
    pending: usize,
}

/// The connections that a session takes bytes by.
#[derive(Debug, Default)]
struct LastTransport {
    poll: Option<Poll>,
    websocket: Option<Plug>,
}

/// An answer to a poll: it is taken when so many bytes have been written.
#[derive(Debug)]
struct Poll {
    plug: Plug,
    written: u64,
    size: u64,
}

impl Sessions {
    pub(super) fn new(limits: ConnectLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// A new session, and the one that makes room for it.
    pub(super) fn open(
        self: &Arc<Self>,
        handshake: EngineRequest,
        address: Option<IpAddr>,
    ) -> Result<(Arc<Session>, Option<Arc<Session>>), Full> {
        let session = Arc::new_cyclic(|session| Session {
            handshake,
            sessions: Arc::downgrade(self),
            address,
            opened: Instant::now(),
            has_deadline: AtomicBool::default(),
            id: OnceLock::new(),
            progress: Mutex::default(),
            polled: AtomicU64::default(),
            last: Mutex::default(),
            arrived: Mutex::default(),
            unclaimed: AtomicUsize::default(),
            reader: AtomicWaker::new(),
            output: Arc::new(Output::new(Weak::clone(session), address)),
            large_packets: LargePackets::default(),
        });
        let mut state = self.state.lock();
        let removed = match handshake.is_websocket() {
            true => None,
            false => {
                let removed = state.make_room(&self.limits, address)?;
                state.unconnected.push(Arc::downgrade(&session));
                removed
            }
        };
        state.add_deadline(&session, self.limits.deadline);
        Ok((session, removed))
    }

    /// The id of a polling session.
    pub(super) fn learn_id(&self, session: &Arc<Session>, id: Sid) {
        const FEW: usize = 64;
        let _ = session.id.set(id);
        let mut state = self.state.lock();
        if state.polling.len() >= state.purge_at {
            state.polling.retain(|_, session| session.strong_count() > 0);
            state.purge_at = FEW.max(state.polling.len() * 2);
        }
        state.polling.insert(id, Arc::downgrade(session));
    }

    pub(super) fn polling(&self, id: Sid) -> Option<Arc<Session>> {
        self.state.lock().polling.get(&id)?.upgrade()
    }

    /// A CONNECT has been decided on. If it is refused, another may follow until the deadline.
    fn waits_again(&self, session: &Arc<Session>) {
        if session.is_unconnected() {
            let mut state = self.state.lock();
            state.add_deadline(session, self.limits.deadline);
            let is_listed = |it: &Weak<Session>| std::ptr::eq(it.as_ptr(), Arc::as_ptr(session));
            if !session.handshake.is_websocket() && !state.unconnected.iter().any(is_listed) {
                state.unconnected.push(Arc::downgrade(session));
            }
        }
    }

    /// Whether the caller is to watch the deadlines, with [`overdue`](Self::overdue) until that is over.
    pub(super) fn begin_watch(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().is_watched, true)
    }

    /// The sessions that have missed their deadline, and the next deadline. Without one the watch is over.
    pub(super) fn overdue(&self) -> (Vec<Arc<Session>>, Option<Instant>) {
        let (now, mut overdue) = (Instant::now(), Vec::new());
        let mut state = self.state.lock();
        while let Some((_, session)) =
            state.deadlines.pop_front_if(|(deadline, _)| *deadline <= now)
        {
            let Some(session) = session.upgrade() else { continue };
            session.has_deadline.store(false, Ordering::Relaxed);
            if session.is_unconnected() {
                overdue.push(session);
            }
        }
        let next = state.deadlines.front().map(|(deadline, _)| *deadline);
        state.is_watched = next.is_some();
        (overdue, next)
    }
}

impl State {
    fn make_room(
        &mut self,
        limits: &ConnectLimits,
        address: Option<IpAddr>,
    ) -> Result<Option<Arc<Session>>, Full> {
        self.unconnected.retain(|it| it.upgrade().is_some_and(|it| it.is_unconnected()));
        let waiting: Vec<_> = self.unconnected.iter().filter_map(Weak::upgrade).collect();
        let of_address = || waiting.iter().filter(|it| it.address == address);
        let (oldest, full) = if of_address().count() >= limits.per_address {
            let limit = Limit::UnconnectedSessionsPerAddress;
            (of_address().next(), Full(limit, limits.per_address))
        } else if waiting.len() >= limits.in_all {
            (waiting.first(), Full(Limit::UnconnectedSessions, limits.in_all))
        } else {
            return Ok(None);
        };
        let oldest = oldest.filter(|it| it.opened.elapsed() >= GRACE).ok_or(full)?;
        self.unconnected.retain(|it| !std::ptr::eq(it.as_ptr(), Arc::as_ptr(oldest)));
        Ok(Some(Arc::clone(oldest)))
    }

    fn add_deadline(&mut self, session: &Arc<Session>, within: Duration) {
        if !session.has_deadline.swap(true, Ordering::Relaxed) {
            self.deadlines.push_back((Instant::now() + within, Arc::downgrade(session)));
        }
    }
}

impl Session {
    pub(super) fn of(socket: &Socket) -> Option<&Arc<Self>> {
        socket.req_parts().extensions.get()
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// A message has arrived, with this claim.
    pub(super) fn keep_claim(&self, claim: Claim) {
        *self.arrived.lock() = Some(claim);
    }

    /// Takes the claim of the message that arrived last.
    pub(super) fn take_claim(&self) -> Option<Claim> {
        self.arrived.lock().take()
    }

    /// Bytes of the events that wait to be answered and have no claim.
    pub(super) fn unclaimed(&self) -> usize {
        self.unclaimed.load(Ordering::SeqCst)
    }

    /// An event without a claim for so many of its bytes waits to be answered.
    pub(super) fn add_unclaimed(&self, bytes: usize) {
        self.unclaimed.fetch_add(bytes, Ordering::SeqCst);
    }

    /// It has been answered.
    pub(super) fn remove_unclaimed(&self, bytes: usize) {
        if bytes > 0 {
            self.unclaimed.fetch_sub(bytes, Ordering::SeqCst);
            self.reader.wake();
        }
    }

    /// Wakes the reader of its WebSocket when events have been answered.
    pub(super) fn wake_when_answered(&self, reader: &Waker) {
        self.reader.register(reader);
    }

    pub(super) fn id(&self) -> Option<Sid> {
        self.id.get().copied()
    }

    fn is_unconnected(&self) -> bool {
        let progress = self.progress.lock();
        !progress.is_connected && progress.pending == 0
    }

    /// A CONNECT has arrived.
    fn connects(&self) {
        self.progress.lock().pending += 1;
    }

    /// It needs no CONNECT any more.
    pub(super) fn needs_no_connect(&self) {
        self.progress.lock().is_connected = true;
    }

    /// A poll is answered with so many bytes, on this TCP connection.
    pub(super) fn polls(&self, plug: Plug, size: u64) {
        let mut last = self.last.lock();
        // What its connection has not taken by now counts as not taken: an honest client has read it.
        self.polled.fetch_add(last.taken_by_last_poll(), Ordering::Relaxed);
        let written = plug.written() + size;
        last.poll = Some(Poll { plug, written, size });
    }

    /// It asks to become a WebSocket on this TCP connection, or may not.
    pub(super) fn set_websocket(&self, plug: Option<Plug>) {
        self.last.lock().websocket = plug;
    }

    pub(super) fn websocket(&self) -> Option<Plug> {
        self.last.lock().websocket.clone()
    }

    /// It has taken so many bytes more.
    #[cfg(test)]
    pub(super) fn take(&self, bytes: u64) {
        self.polled.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that it has taken.
    pub(super) fn taken(&self) -> u64 {
        let last = self.last.lock();
        let over_websocket = last.websocket.as_ref().map_or(0, Plug::written);
        self.polled.load(Ordering::Relaxed) + last.taken_by_last_poll() + over_websocket
    }
}

/// Decides on a CONNECT. Until then, the session is not one without a CONNECT, however long that takes.
pub(super) async fn connect<T, E>(
    socket: &Socket,
    decision: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Some(session) = Session::of(socket) else { return decision.await };
    let pending = Pending::begin(session);
    let outcome = decision.await;
    if outcome.is_ok() {
        pending.accept();
    }
    outcome
}

/// A CONNECT that is being decided on. It is refused if it is dropped.
struct Pending<'a>(&'a Arc<Session>);

impl<'a> Pending<'a> {
    fn begin(session: &'a Arc<Session>) -> Self {
        session.connects();
        Self(session)
    }

    fn accept(self) {
        self.0.progress.lock().is_connected = true;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.progress.lock().pending -= 1;
        if let Some(sessions) = self.0.sessions.upgrade() {
            sessions.waits_again(self.0);
        }
    }
}

impl LastTransport {
    fn taken_by_last_poll(&self) -> u64 {
        self.poll.as_ref().filter(|poll| poll.is_taken()).map_or(0, |poll| poll.size)
    }
}

impl Poll {
    fn is_taken(&self) -> bool {
        self.plug.written() >= self.written || !self.plug.is_open()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::time::advance;

    use super::*;

    const LIMITS: ConnectLimits =
        ConnectLimits { per_address: 2, in_all: 3, deadline: Duration::from_secs(10) };

    fn handshake(transport: &str) -> EngineRequest {
        let uri = format!("/socket.io/?EIO=4&transport={transport}");
        EngineRequest::read(&uri.parse().unwrap()).unwrap().unwrap()
    }

    /// One session with a WebSocket.
    pub(in super::super) fn session() -> Arc<Session> {
        sessions(1).remove(0)
    }

    /// Sessions of one client with a WebSocket each.
    pub(in super::super) fn sessions(count: usize) -> Vec<Arc<Session>> {
        let (sessions, address) = (Sessions::new(LIMITS), Some([192, 0, 2, 1].into()));
        (0..count).map(|_| sessions.open(handshake("websocket"), address).unwrap().0).collect()
    }

    fn open(sessions: &Arc<Sessions>, client: u8) -> Result<(Arc<Session>, bool), Limit> {
        let address = Some([192, 0, 2, client].into());
        let opened = sessions.open(handshake("polling"), address);
        opened.map(|(session, removed)| (session, removed.is_some())).map_err(|full| full.0)
    }

    #[tokio::test(start_paused = true)]
    async fn session_is_refused_until_the_oldest_is_no_honest_one() {
        let sessions = Sessions::new(LIMITS);
        let _kept = [open(&sessions, 1).unwrap(), open(&sessions, 1).unwrap()];
        assert_eq!(open(&sessions, 1).unwrap_err(), Limit::UnconnectedSessionsPerAddress);
        let _other = open(&sessions, 2).unwrap();
        assert_eq!(open(&sessions, 3).unwrap_err(), Limit::UnconnectedSessions);
        advance(GRACE).await;
        let (_third, is_room_made) = open(&sessions, 1).unwrap();
        assert!(is_room_made);
    }

    #[tokio::test(start_paused = true)]
    async fn session_counts_until_its_connect_arrives_and_again_if_that_is_refused() {
        let sessions = Sessions::new(LIMITS);
        let [(first, _), (second, _)] = [(); 2].map(|()| open(&sessions, 1).unwrap());
        let [accepted, refused] = [&first, &second].map(Pending::begin);
        let _others = [(); 2].map(|()| open(&sessions, 1).unwrap());
        assert!(open(&sessions, 1).is_err());
        drop(_others);
        accepted.accept();
        drop(refused);
        let _one = open(&sessions, 1).unwrap();
        assert!(open(&sessions, 1).is_err());
        advance(LIMITS.deadline).await;
        let (overdue, next) = sessions.overdue();
        assert!(overdue.iter().all(|it| !Arc::ptr_eq(it, &first)) && next.is_none());
        assert!(overdue.iter().any(|it| Arc::ptr_eq(it, &second)));
    }

    #[tokio::test(start_paused = true)]
    async fn session_counts_once_however_often_its_connect_is_refused() {
        let sessions = Sessions::new(LIMITS);
        let (session, _) = open(&sessions, 1).unwrap();
        for _ in 0..1_000 {
            drop(Pending::begin(&session));
        }
        let _second = open(&sessions, 1).unwrap();
        assert_eq!(open(&sessions, 1).unwrap_err(), Limit::UnconnectedSessionsPerAddress);
        let _other = open(&sessions, 2).unwrap();
        advance(LIMITS.deadline).await;
        assert_eq!(sessions.overdue().0.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn websocket_without_a_connect_has_the_deadline_only() {
        let sessions = Sessions::new(LIMITS);
        let opened: Vec<_> =
            (0..9).map(|_| sessions.open(handshake("websocket"), None).unwrap().0).collect();
        assert_eq!(sessions.overdue().0.len(), 0);
        advance(LIMITS.deadline).await;
        assert_eq!(sessions.overdue().0.len(), opened.len());
    }
}
