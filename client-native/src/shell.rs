//! The loop between the core and the app.
//!
//! The core gets every input from the app, the socket and the clock. The task then carries out all
//! outputs of the core, and sleeps until the next input or the core's deadline. The app's threads
//! pass their inputs to the core directly, so that requests keep the order of the calls. Only the
//! task carries out outputs, so that responses and events keep the order of the core.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backwire_protocol::output::Frame;
use backwire_protocol::{Client as Core, Failure, Instant, Output, Request, Token};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time;

use crate::connector::Connector;
use crate::event::{Event, Reply};
use crate::json::Json;
use crate::socket::{Socket, SocketEvent};

pub(crate) type Answer = Result<Reply, Failure>;

/// The state that the app and the task share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Notifies the task of an input from the app.
    input_notify: Notify,
    start: time::Instant,
}

struct State {
    core: Core<Json>,
    /// The number of tokens that are in use or were used.
    tokens: u32,
    /// Unanswered requests of the app.
    pending: HashMap<Token, oneshot::Sender<Answer>>,
}

impl Shared {
    pub(crate) fn new(session: String, seed: u64) -> Self {
        let state =
            State { core: Core::new(Some(""), session, seed), tokens: 0, pending: HashMap::new() };
        Self { state: Mutex::new(state), input_notify: Notify::new(), start: time::Instant::now() }
    }

    /// Passes an input of the app to the core.
    pub(crate) fn drive<T>(&self, input: impl FnOnce(&mut Core<Json>, Instant) -> T) -> T {
        let answer = input(&mut self.lock().core, self.now());
        self.input_notify.notify_one();
        answer
    }

    /// Passes a request to the core. Returns the receiver of its response.
    pub(crate) fn send_request(
        &self,
        request: Request<Json>,
    ) -> (Token, oneshot::Receiver<Answer>) {
        let (sender, answer) = oneshot::channel();
        let mut state = self.lock();
        state.tokens += 1;
        let token = Token(state.tokens);
        state.pending.insert(token, sender);
        state.core.request(self.now(), token, request);
        self.input_notify.notify_one();
        (token, answer)
    }

    /// Aborts a request of the app, unless it is answered already.
    pub(crate) fn abort(&self, token: Token) {
        // The core no longer has a request that is answered.
        if self.lock().pending.remove(&token).is_some() {
            self.drive(|core, _| core.abort(token));
        }
    }

    fn now(&self) -> Instant {
        let elapsed = self.start.elapsed().as_millis();
        Instant::from_millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Ignores poisoning: only the core could panic under this lock, and its state does not matter
    /// after that.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of the task.
pub(crate) struct Shell {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connector: Connector,
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
                () = shared.input_notify.notified() => {}
                event = next_socket_event(&mut self.socket) => self.handle_socket_event(event),
                () = sleep_until(&shared, deadline) => shared.lock().core.tick(shared.now()),
            }
        }
    }

    /// Returns the next output. Releases the lock before the output is carried out.
    fn poll(&self) -> Option<Output<Json>> {
        self.shared.lock().core.poll()
    }

    fn carry_out(&mut self, output: Output<Json>) {
        match output {
            Output::Open => self.socket = Some(Socket::open(&self.connector)),
            Output::Close => self.socket = None,
            Output::Send(frame) => self.send(frame),
            Output::Finish { token, result, .. } => {
                if let Some(sender) = self.shared.lock().pending.remove(&token) {
                    // The receiver is gone if the app has dropped the future.
                    let _ = sender.send(result);
                }
            }
            // This client has no HTTP, where requests wait for the link, and a fixed auth.
            Output::Http(_) | Output::Authenticate => {}
            Output::Deliver(delivery) => self.emit(Event::Changes(delivery)),
            Output::Refresh(room) => self.emit(Event::Refresh(room)),
            Output::Resumed(resumed) => self.emit(Event::Resumed(resumed)),
            Output::Status(status) => self.emit(Event::Status(status)),
            Output::Unauthorized => self.emit(Event::Unauthorized),
            Output::Refused(message) => self.emit(Event::Refused(message)),
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

    /// Sends an event to the app, unless the app has dropped the stream.
    fn emit(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn handle_socket_event(&mut self, event: SocketEvent) {
        let now = self.shared.now();
        let core = &mut self.shared.lock().core;
        match event {
            SocketEvent::Packet(Some(packet)) => core.received(now, packet),
            SocketEvent::Packet(None) => core.malformed(now),
            SocketEvent::Closed => {
                self.socket = None;
                core.closed(now);
            }
        }
    }
}

async fn next_socket_event(socket: &mut Option<Socket>) -> SocketEvent {
    match socket {
        Some(socket) => socket.next_event().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(shared: &Shared, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => {
            time::sleep_until(shared.start + Instant::default().until(deadline)).await
        }
        None => std::future::pending().await,
    }
}
