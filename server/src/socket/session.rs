//! Sessions of Engine.IO: how many of them wait for their CONNECT, and how many of the bytes that
//! they were sent they have taken.
//!
//! A handshake by polling costs a client one request, and costs the server memory until the session
//! ends. So only a few sessions of an address may be without a CONNECT, each for a short time.
//! Honest clients send the CONNECT within a round trip. Beyond the limit, the oldest session is
//! closed if it is older than [`MIN_EVICTION_AGE`], as a session of an attacker soon is. Otherwise
//! the new session is refused, and its client tries again. So many clients behind one address that
//! connect at the same time do not end each other's sessions, and an attacker that opens sessions
//! for nothing does not keep them out.
//!
//! A session that begins as a WebSocket has a TCP connection, and TCP connections have limits of
//! their own. So it has only the deadline. A client of Engine.IO 3 is connected without a CONNECT;
//! its next request counts instead.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use backwire_environment::HashMap;
use parking_lot::Mutex;
use socketioxide::socket::{Sid, Socket};
use tokio::time::Instant;

use super::engine_request::EngineRequest;
use super::input::Input;
use super::large_packets::LargePackets;
use super::output::Output;
use super::taken_bytes::TakenBytes;
use crate::http::connections::LimitReached;
use crate::settings::Limit;

/// A session without a CONNECT is younger than this, unless its client does not intend to send one.
const MIN_EVICTION_AGE: Duration = Duration::from_secs(2);

/// The limits of sessions that wait for a CONNECT.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectLimits {
    pub(super) per_address: usize,
    pub(super) total: usize,
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
    /// Sessions that have a deadline, the earliest first.
    deadlines: VecDeque<(Instant, Weak<Session>)>,
    is_watched: bool,
    polling: HashMap<Sid, Weak<Session>>,
    /// At this size, ended sessions are removed.
    purge_at: usize,
}

/// One session. It is among the extensions of its handshake, which live as long.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) handshake: EngineRequest,
    sessions: Weak<Sessions>,
    address: Option<IpAddr>,
    opened: Instant,
    /// Whether its deadline for a CONNECT is in the list of deadlines.
    has_deadline: AtomicBool,
    id: OnceLock<Sid>,
    progress: Mutex<Progress>,
    /// The bytes that the client has taken.
    pub(super) taken: Arc<TakenBytes>,
    /// The input of the client that is not answered yet.
    pub(super) input: Arc<Input>,
    /// The packets that were sent and that the client has not read.
    pub(super) output: Arc<Output>,
    /// The large packets among them.
    pub(super) large_packets: LargePackets,
}

#[derive(Debug, Default)]
struct Progress {
    is_connected: bool,
    has_ended: bool,
    /// CONNECTs that have not been decided on.
    pending: usize,
}

impl Sessions {
    pub(super) fn new(limits: ConnectLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Opens a session. Also returns the session that is closed to make room for it.
    pub(super) fn open(
        self: &Arc<Self>,
        handshake: EngineRequest,
        address: Option<IpAddr>,
    ) -> Result<(Arc<Session>, Option<Arc<Session>>), LimitReached> {
        let taken = Arc::<TakenBytes>::default();
        let session = Arc::new(Session {
            handshake,
            sessions: Arc::downgrade(self),
            address,
            opened: Instant::now(),
            has_deadline: AtomicBool::default(),
            id: OnceLock::new(),
            progress: Mutex::default(),
            output: Arc::new(Output::new(&taken, address)),
            taken,
            input: Arc::default(),
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

    /// Sets the id of a polling session.
    pub(super) fn set_id(&self, session: &Arc<Session>, id: Sid) {
        const MIN_PURGE_SIZE: usize = 64;
        let _ = session.id.set(id);
        let mut state = self.state.lock();
        if state.polling.len() >= state.purge_at {
            state.polling.retain(|_, session| session.strong_count() > 0);
            state.purge_at = MIN_PURGE_SIZE.max(state.polling.len() * 2);
        }
        state.polling.insert(id, Arc::downgrade(session));
    }

    pub(super) fn polling(&self, id: Sid) -> Option<Arc<Session>> {
        self.state.lock().polling.get(&id)?.upgrade()
    }

    /// A CONNECT has been decided on. If it is refused, another one may follow until the deadline.
    fn await_connect_again(&self, session: &Arc<Session>) {
        if session.is_unconnected() {
            let mut state = self.state.lock();
            state.add_deadline(session, self.limits.deadline);
            let is_listed = |it: &Weak<Session>| std::ptr::eq(it.as_ptr(), Arc::as_ptr(session));
            if !session.handshake.is_websocket() && !state.unconnected.iter().any(is_listed) {
                state.unconnected.push(Arc::downgrade(session));
            }
        }
    }

    /// Whether the caller has to watch the deadlines. It does so with [`overdue`](Self::overdue)
    /// until there are none.
    pub(super) fn begin_watch(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().is_watched, true)
    }

    /// Returns the sessions that have missed their deadline, and the next deadline. Without a next
    /// deadline the watch is over.
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
    ) -> Result<Option<Arc<Session>>, LimitReached> {
        self.unconnected.retain(|it| it.upgrade().is_some_and(|it| it.is_unconnected()));
        let waiting: Vec<_> = self.unconnected.iter().filter_map(Weak::upgrade).collect();
        let of_address = || waiting.iter().filter(|it| it.address == address);
        let (oldest, full) = if of_address().count() >= limits.per_address {
            let limit = Limit::UnconnectedSessionsPerAddress;
            (of_address().next(), LimitReached(limit, limits.per_address))
        } else if waiting.len() >= limits.total {
            (waiting.first(), LimitReached(Limit::UnconnectedSessions, limits.total))
        } else {
            return Ok(None);
        };
        let oldest = oldest.filter(|it| it.opened.elapsed() >= MIN_EVICTION_AGE).ok_or(full)?;
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

    pub(super) fn id(&self) -> Option<Sid> {
        self.id.get().copied()
    }

    fn is_unconnected(&self) -> bool {
        let progress = self.progress.lock();
        !progress.is_connected && !progress.has_ended && progress.pending == 0
    }

    /// Counts a CONNECT that has arrived.
    fn begin_connect(&self) {
        self.progress.lock().pending += 1;
    }

    /// Marks the session as connected, so it needs no CONNECT any more.
    pub(super) fn mark_connected(&self) {
        self.progress.lock().is_connected = true;
    }

    /// Records that the WebSocket of the session has ended. A page that only checks whether
    /// WebSockets work sends no CONNECT, and does not miss a deadline. socketioxide keeps the
    /// session for a while.
    pub(super) fn end(&self) {
        self.progress.lock().has_ended = true;
    }
}

/// Decides on a CONNECT. Until then the session does not count as one without a CONNECT, however
/// long that takes.
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

/// A CONNECT that has not been decided on. Dropping it refuses the CONNECT.
struct Pending<'a>(&'a Arc<Session>);

impl<'a> Pending<'a> {
    fn begin(session: &'a Arc<Session>) -> Self {
        session.begin_connect();
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
            sessions.await_connect_again(self.0);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::time::advance;

    use super::*;

    const LIMITS: ConnectLimits =
        ConnectLimits { per_address: 2, total: 3, deadline: Duration::from_secs(10) };

    fn handshake(transport: &str) -> EngineRequest {
        let uri = format!("/socket.io/?EIO=4&transport={transport}");
        EngineRequest::read(&uri.parse().unwrap()).unwrap().unwrap()
    }

    /// Opens one session with a WebSocket.
    pub(in super::super) fn session() -> Arc<Session> {
        sessions(1).remove(0)
    }

    /// Opens sessions of one client, each with a WebSocket.
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
    async fn new_session_is_refused_until_the_oldest_can_be_evicted() {
        let sessions = Sessions::new(LIMITS);
        let _kept = [open(&sessions, 1).unwrap(), open(&sessions, 1).unwrap()];
        assert_eq!(open(&sessions, 1).unwrap_err(), Limit::UnconnectedSessionsPerAddress);
        let _other = open(&sessions, 2).unwrap();
        assert_eq!(open(&sessions, 3).unwrap_err(), Limit::UnconnectedSessions);
        advance(MIN_EVICTION_AGE).await;
        let (_third, is_room_made) = open(&sessions, 1).unwrap();
        assert!(is_room_made);
    }

    #[tokio::test(start_paused = true)]
    async fn session_counts_before_its_connect_and_again_after_a_refusal() {
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
    async fn session_with_many_refused_connects_counts_once() {
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
    async fn websocket_without_connect_has_only_the_deadline() {
        let sessions = Sessions::new(LIMITS);
        let opened: Vec<_> =
            (0..9).map(|_| sessions.open(handshake("websocket"), None).unwrap().0).collect();
        assert_eq!(sessions.overdue().0.len(), 0);
        advance(LIMITS.deadline).await;
        assert_eq!(sessions.overdue().0.len(), opened.len());
    }
}
