//! The connection: a WebSocket that the page opens, or an object that behaves like one.

use js_sys::JsString;
use wasm_bindgen::prelude::*;
use web_sys::MessageEvent;

use crate::listener::{Listener, Wire};

/// An event of a socket.
pub(crate) enum SocketEvent {
    /// A text frame, or `None` for a binary frame.
    Frame(Option<JsString>),
    /// The socket is closed, or could not be opened.
    Closed,
}

/// A connection. Dropping it closes it; it then reports no more events.
pub(crate) struct Socket {
    socket: Wire,
    _listener: Closure<dyn Fn(MessageEvent)>,
}

impl Socket {
    /// Starts to connect. Returns an error if the browser refuses to try.
    pub(crate) fn open(
        listener: &Listener,
        url: &str,
        handle: impl Fn(SocketEvent) + 'static,
    ) -> Result<Self, JsValue> {
        let socket = listener.open(url)?;
        // One listener for both events halves the glue code: a message always has data, and a close
        // never has.
        let listener = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
            let data = event.data();
            handle(if data.is_undefined() {
                SocketEvent::Closed
            } else {
                SocketEvent::Frame(data.dyn_into().ok())
            });
        });
        socket.set_onmessage(listener.as_ref());
        socket.set_onclose(listener.as_ref());
        Ok(Self { socket, _listener: listener })
    }

    /// Sends a text frame. If that fails, the connection closes.
    pub(crate) fn send(&self, frame: &JsString) {
        let _ = self.socket.send(frame);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onmessage(&JsValue::NULL);
        self.socket.set_onclose(&JsValue::NULL);
        self.socket.close();
    }
}
