//! The loop between the core and the app.
//!
//! The core gets every input from the app, the socket and the clock. The task then carries out all
//! outputs of the core, and sleeps until the next input or the core's deadline. The app's threads
//! hand their inputs to the core directly, so that requests keep the order of the calls. Only the
//! task carries out outputs, so that responses and news keep the order of the core.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backwire_protocol::output::Frame;
use backwire_protocol::{Client as Core, Failure, Instant, Output, Request, Token};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time;

use crate::event::{Event, Reply};
use crate::json::Json;
use crate::socket::{Heard, Socket};

pub(crate) type Answer = Result<Reply, Failure>;

/// The state that the app and the task share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Notifies the task of an input from the app.
    given: Notify,
    zero: time::Instant,
}

struct State {
    core: Core<Json>,
    /// The number of tokens that are in use or were used.
    tokens: u32,
    /// Unanswered requests of the app.
    asked: HashMap<Token, oneshot::Sender<Answer>>,
}

impl Shared {
    pub(crate) fn new(session: String, seed: u64) -> Self {
        let state = State { core: Core::new("", session, seed), tokens: 0, asked: HashMap::new() };
        Self { state: Mutex::new(state), given: Notify::new(), zero: time::Instant::now() }
    }

    /// Hands the core an input of the app.
    pub(crate) fn drive<T>(&self, input: impl FnOnce(&mut Core<Json>, Instant) -> T) -> T {
        let answer = input(&mut self.lock().core, self.now());
        self.given.notify_one();
        answer
    }

    /// Hands the core a request. Returns the receiver of its response.
    pub(crate) fn ask(&self, request: Request<Json>) -> (Token, oneshot::Receiver<Answer>) {
        let (asked, answer) = oneshot::channel();
        let mut state = self.lock();
        state.tokens += 1;
        let token = Token(state.tokens);
        state.asked.insert(token, asked);
        state.core.request(self.now(), token, request);
        self.given.notify_one();
        (token, answer)
    }

    /// Aborts a request of the app, unless it is answered already.
    pub(crate) fn abort(&self, token: Token) {
        // The core no longer has a request that is answered.
        if self.lock().asked.remove(&token).is_some() {
            self.drive(|core, _| core.abort(token));
        }
    }

    fn now(&self) -> Instant {
        let elapsed = self.zero.elapsed().as_millis();
        Instant::from_millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Ignores poisoning: only the core could panic under this lock, and its state does not matter
    /// after that.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task's side.
pub(crate) struct Shell {
    pub(crate) shared: Arc<Shared>,
    pub(crate) url: String,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) socket: Option<Socket>,
}

impl Shell {
    /// Runs until it is aborted.
    pub(crate) async fn run(mut self) {
        loop {
            while let Some(output) = self.poll() {
                self.carry_out(output);
            }
            let deadline = self.shared.lock().core.deadline();
            let shared = self.shared.clone();
            tokio::select! {
                () = shared.given.notified() => {}
                heard = hear(&mut self.socket) => self.hear(heard),
                () = sleep_until(&shared, deadline) => shared.lock().core.tick(shared.now()),
            }
        }
    }

    /// The lock ends before the output is carried out.
    fn poll(&self) -> Option<Output<Json>> {
        self.shared.lock().core.poll()
    }

    fn carry_out(&mut self, output: Output<Json>) {
        match output {
            Output::Open => self.socket = Some(Socket::open(&self.url)),
            Output::Close => self.socket = None,
            Output::Send(frame) => self.send(frame),
            Output::Finish { token, result, .. } => {
                if let Some(asked) = self.shared.lock().asked.remove(&token) {
                    // The receiver is gone if the app has dropped the future.
                    let _ = asked.send(result);
                }
            }
            // This client has no HTTP. Requests wait for the link.
            Output::Http(_) => {}
            Output::Deliver(news) => self.tell(Event::News(news)),
            Output::Refresh(room) => self.tell(Event::Refresh(room)),
            Output::Status(status) => self.tell(Event::Status(status)),
            Output::Unauthorized => self.tell(Event::Unauthorized),
            Output::Refused(message) => self.tell(Event::Refused(message)),
        }
    }

    fn send(&self, frame: Frame<Json>) {
        let mut text = frame.head;
        if let Some(body) = frame.body {
            text.push_str(&body.to_string());
            text.push_str(frame.tail);
        }
        if let Some(socket) = &self.socket {
            socket.send(text);
        }
    }

    /// An app that dropped its events does not want them.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn hear(&mut self, heard: Heard) {
        let now = self.shared.now();
        let core = &mut self.shared.lock().core;
        match heard {
            Heard::Packet(Some(packet)) => core.received(now, packet),
            Heard::Packet(None) => core.malformed(now),
            Heard::Closed => {
                self.socket = None;
                core.closed(now);
            }
        }
    }
}

async fn hear(socket: &mut Option<Socket>) -> Heard {
    match socket {
        Some(socket) => socket.hear().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(shared: &Shared, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(shared.zero + Instant::default().until(deadline)).await,
        None => std::future::pending().await,
    }
}
