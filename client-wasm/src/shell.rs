//! The loop between the core and the page.
//!
//! The shell passes every input of the page, the socket and the timer to the core. Then it carries
//! out all outputs of the core, and sets the timer to the next deadline. The page may call the
//! client from any callback: no borrow is held then, and the running loop carries out the outputs
//! of that call in order.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use backwire_protocol::output::{Connection, Frame};
use backwire_protocol::packet::Packet;
use backwire_protocol::{
    Client as Core, Failure, Instant, Output, Reply, Request, RequestKind, Token, Verb,
};
use gloo_timers::callback::Timeout;
use js_sys::{Array, JsString};
use wasm_bindgen::prelude::*;

use crate::clock::Clock;
use crate::listener::Listener;
use crate::socket::{Socket, SocketEvent};
use crate::value::Value;

/// The length of a frame's beginning that is enough to locate its JSON: type, namespace and ack id.
const HEAD_LENGTH: u32 = 64;

#[wasm_bindgen]
extern "C" {
    // Joins all three in one call, because each call leaves wasm and returns.
    #[wasm_bindgen(js_namespace = ["String", "prototype", "concat"], js_name = call)]
    fn join(head: &str, body: &JsValue, tail: &str) -> JsString;
}

/// A client of one server.
#[wasm_bindgen]
pub struct Client(Rc<Shell>);

struct Shell {
    url: String,
    listener: Listener,
    clock: Clock,
    core: RefCell<Core<Value>>,
    socket: RefCell<Option<Socket>>,
    /// The timer and its deadline.
    timer: RefCell<Option<(Instant, Timeout)>>,
    /// A caller further up the stack is carrying out outputs of the core.
    is_busy: Cell<bool>,
}

#[wasm_bindgen]
impl Client {
    /// Creates a client of the server at `url` (`ws://host/socket.io/?EIO=4&transport=websocket`)
    /// that does nothing until `connect`. `auth` is the JSON text of an object, as `JSON.stringify`
    /// writes it, whose members are sent with each CONNECT, or an empty text. If it is undefined,
    /// the client calls `Listener.authenticate` before each CONNECT. `session` is the prefix of
    /// every idempotency key and must be unique among all clients of the server. `seed` decides the
    /// jitter between attempts to connect.
    #[wasm_bindgen(constructor)]
    pub fn new(
        url: &str,
        #[wasm_bindgen(unchecked_param_type = "string | undefined")] auth: JsValue,
        session: &str,
        seed: f64,
        listener: Listener,
    ) -> Self {
        let auth = auth.as_string();
        Self(Rc::new(Shell {
            url: url.into(),
            listener,
            clock: Clock::new(),
            core: RefCell::new(Core::new(auth.as_deref(), session.into(), seed as u64)),
            socket: RefCell::new(None),
            timer: RefCell::new(None),
            is_busy: Cell::new(false),
        }))
    }

    /// Connects, and reconnects after each interruption. Also connects again after the server has
    /// refused the connection.
    pub fn connect(&self) {
        self.0.notify_core(Core::connect);
    }

    /// Returns whether the client works. After a panic it never works again, because the trap left
    /// it in an unknown state. Call this only outside of the listener's callbacks.
    #[wasm_bindgen(js_name = isWell)]
    pub fn is_well(&self) -> bool {
        !self.0.is_busy.get() && self.0.core.try_borrow().is_ok()
    }

    /// Closes the connection until the next `connect`. Requests wait.
    pub fn disconnect(&self) {
        self.0.notify_core(Core::disconnect);
    }

    /// Reconnects at once if there is no connection, and finds out soon whether an open one still
    /// works. The page calls this when the browser reports a network, or shows the page again.
    pub fn wake(&self) {
        self.0.notify_core(Core::wake);
    }

    /// Closes the connection until the next `wake`, because the browser is about to stop the page.
    pub fn park(&self) {
        self.0.notify_core(Core::park);
    }

    /// Closes the connection and tries again, because the browser reports no network, or the page
    /// has other auth.
    pub fn reconnect(&self) {
        self.0.notify_core(Core::reconnect);
    }

    /// Answers `Listener.authenticate`. At any other time, uses this auth from the next connection
    /// on, and resends writes that were answered with 401.
    pub fn authenticate(
        &self,
        #[wasm_bindgen(unchecked_optional_param_type = "string")] auth: JsValue,
    ) {
        let auth = auth.as_string().unwrap_or_default();
        self.0.drive(|core, now| core.authenticate(now, &auth));
    }

    /// Records that the page found the connection refused. The client makes no more attempts until
    /// the next `connect`.
    pub fn refuse(&self, message: String) {
        self.0.drive(|core, now| core.refuse(now, message));
    }

    /// Sends a request. Returns false, and does nothing, if `method` is unknown. The client may
    /// call the listener with this token within this call.
    ///
    /// - `token`: a number that no other request of this client has ever had
    /// - `method`: get, post, put, patch or delete
    /// - `url`: path and query
    /// - `headers`: the JSON text of an object of lower-case names and string values, without
    ///   `idempotency-key`
    /// - `body`: JSON text
    /// - `key`: the idempotency key; `<session>-<token>` if it is undefined
    /// - `kind`: 0 for a new request, 1 for a request that an earlier page made and may have sent,
    ///   2 for a write that the page sends itself (see `answeredOverHttp`)
    #[expect(clippy::too_many_arguments, reason = "an object would have to be read field by field")]
    pub fn request(
        &self,
        token: u32,
        method: &str,
        url: &str,
        #[wasm_bindgen(unchecked_param_type = "string | undefined")] headers: JsValue,
        #[wasm_bindgen(unchecked_param_type = "string | undefined")] body: JsValue,
        #[wasm_bindgen(unchecked_param_type = "string | undefined")] key: JsValue,
        kind: u32,
    ) -> bool {
        let Some(verb) = Verb::from_event(method) else {
            return false;
        };
        let kind = match kind {
            0 => RequestKind::New,
            1 => RequestKind::Restored,
            _ => RequestKind::External,
        };
        let (headers, key) = (headers.as_string(), key.as_string());
        let body = body.is_string().then_some(Value(body));
        let request = Request { verb, url: url.into(), headers, body, key, kind };
        self.0.drive(|core, now| core.request(now, Token(token), request));
        true
    }

    /// Takes the response to a request over HTTP: one that `Listener.http` requested, or one of
    /// kind 2. Status 0 means that the server was unreachable. `body` is parsed JSON, `headers` an
    /// object of lower-case names and string values.
    #[wasm_bindgen(js_name = answeredOverHttp)]
    pub fn answered_over_http(&self, token: u32, status: u16, body: JsValue, headers: JsValue) {
        let (body, headers) = (Some(Value(body)), Some(Value(headers)));
        let reply = Reply { status, body, headers };
        self.0.drive(|core, now| core.answered_over_http(now, Token(token), reply));
    }

    /// Aborts a request. The listener gets no response to it.
    pub fn abort(&self, token: u32) {
        self.0.drive(|core, _| core.abort(Token(token)));
    }

    /// Withdraws a request. Returns false if the request may have been sent; then the listener gets
    /// its response.
    pub fn withdraw(&self, token: u32) -> bool {
        self.0.drive(|core, _| core.withdraw(Token(token)))
    }

    /// Acknowledges the events for the user, up to and including this id.
    pub fn delivered(&self, id: &str) {
        self.0.drive(|core, _| core.delivered(id));
    }

    /// Unsubscribes from a room, such as `todo` or `todo/7`.
    pub fn unsubscribe(&self, room: &str) {
        self.0.drive(|core, _| core.unsubscribe(room));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.timer.take();
        self.0.socket.take();
    }
}

impl Shell {
    /// Passes an input to the core, then carries out all outputs.
    fn drive<T>(self: &Rc<Self>, input: impl FnOnce(&mut Core<Value>, Instant) -> T) -> T {
        let answer = input(&mut self.core.borrow_mut(), self.clock.now());
        self.carry_out_all();
        answer
    }

    /// Passes an input without a result to the core.
    fn notify_core(self: &Rc<Self>, input: fn(&mut Core<Value>, Instant)) {
        self.drive(input);
    }

    /// Carries out all outputs of the core, unless a caller further up the stack is doing that.
    #[inline(never)]
    fn carry_out_all(self: &Rc<Self>) {
        if !self.is_busy.replace(true) {
            while let Some(output) = self.poll() {
                self.carry_out(output);
            }
            self.set_timer();
            self.is_busy.set(false);
        }
    }

    /// Returns the next output. The borrow ends before the output is carried out, because `success`
    /// may save another model.
    fn poll(&self) -> Option<Output<Value>> {
        self.core.borrow_mut().poll()
    }

    fn carry_out(self: &Rc<Self>, output: Output<Value>) {
        let result = match output {
            Output::Open => return self.open(),
            Output::Close => return drop(self.socket.take()),
            Output::Send(frame) => return self.send(frame),
            Output::Finish { token, result, waited } => self.finish(token, result, waited),
            Output::Http(Token(token)) => self.listener.http(token),
            Output::Deliver(delivery) => {
                let changes = Array::new();
                for Value(change) in delivery.changes {
                    changes.push(&change);
                }
                self.listener.deliver(&delivery.room, &changes)
            }
            Output::Refresh(room) => self.listener.refresh(&room),
            Output::Resumed(resumed) => {
                self.listener.resumed(resumed.recovered, resumed.count as u32)
            }
            Output::Status(status) => {
                self.listener.status(name_of(status.state), status.unsent as u32)
            }
            Output::Unauthorized => self.listener.unauthorized(),
            Output::Refused(message) => self.listener.refused(&message),
            Output::Authenticate => self.listener.authenticate(),
        };
        if let Err(error) = result {
            web_sys::console::error_2(&JsValue::from_str("Backwire:"), &error);
        }
    }

    fn finish(
        &self,
        Token(token): Token,
        result: Result<Reply<Value>, Failure>,
        waited: bool,
    ) -> Result<(), JsValue> {
        let value = |value: Option<Value>| value.map_or(JsValue::UNDEFINED, |Value(value)| value);
        let (status, body, headers) = match result {
            Ok(reply) => (reply.status, value(reply.body), reply.headers),
            Err(Failure::Unreachable) => (0, JsValue::from_str("unreachable"), None),
            Err(Failure::Outdated) => (0, JsValue::from_str("outdated"), None),
            Err(Failure::TooLarge(limit)) => (413, JsValue::from_f64(limit as f64), None),
        };
        self.listener.finish(token, status, &body, &value(headers), waited)
    }

    fn open(self: &Rc<Self>) {
        // The old socket is dropped first, so that it reports no more events.
        drop(self.socket.take());
        let shell = Rc::downgrade(self);
        match Socket::open(&self.listener, &self.url, move |event| {
            handle_socket_event(&shell, event)
        }) {
            Ok(socket) => drop(self.socket.replace(Some(socket))),
            Err(_) => self.core.borrow_mut().closed(self.clock.now()),
        }
    }

    fn send(&self, frame: Frame<Value>) {
        let text = match frame.body {
            Some(Value(body)) => join(&frame.head, &body, frame.tail),
            None => frame.head.into(),
        };
        if let Some(socket) = &*self.socket.borrow() {
            socket.send(&text);
        }
    }

    /// Sets the timer to the next deadline. Keeps a timer that fires earlier: it is set to the rest
    /// when it fires. Each received frame moves the deadline a little.
    fn set_timer(self: &Rc<Self>) {
        let deadline = self.core.borrow().deadline();
        let set_to = self.timer.borrow().as_ref().map(|(set_to, _)| *set_to);
        // `None` compares as earlier than any deadline.
        if set_to.is_none() || deadline < set_to {
            let timer = deadline.map(|deadline| {
                let wait = self.clock.now().until(deadline).as_millis() as u32;
                let shell = Rc::downgrade(self);
                (deadline, Timeout::new(wait, move || wake(&shell)))
            });
            drop(self.timer.replace(timer));
        }
    }
}

fn wake(shell: &Weak<Shell>) {
    if let Some(shell) = shell.upgrade() {
        // The timer has fired, so even the same deadline needs a new timer.
        shell.timer.take();
        shell.notify_core(Core::tick);
    }
}

fn handle_socket_event(shell: &Weak<Shell>, event: SocketEvent) {
    let Some(shell) = shell.upgrade() else { return };
    match event {
        SocketEvent::Closed => shell.notify_core(Core::closed),
        SocketEvent::Frame(frame) => match frame.and_then(|frame| decode(&frame)) {
            Some(packet) => shell.drive(|core, now| core.received(now, packet)),
            None => shell.notify_core(Core::malformed),
        },
    }
}

/// Decodes a frame. Only its beginning enters wasm memory; the browser parses its JSON.
fn decode(frame: &JsString) -> Option<Packet<Value>> {
    let head = String::from(frame.slice(0, HEAD_LENGTH));
    let parse = |at: usize| Value::parse(&frame.slice(at as u32, frame.length())).ok_or(());
    Packet::decode(&head).ok()?.try_map(parse).ok()
}

const fn name_of(state: Connection) -> &'static str {
    match state {
        Connection::Online => "online",
        Connection::Connecting => "connecting",
        Connection::Offline => "offline",
    }
}
