//! The WebSocket. Only this module uses `WebSocket`.

use js_sys::JsString;
use wasm_bindgen::prelude::*;
use web_sys::{MessageEvent, WebSocket};

#[wasm_bindgen]
extern "C" {
    /// A `WebSocket` that takes a JavaScript string: web-sys takes a `&str`, which would copy the
    /// whole frame into wasm memory and out again.
    type Wire;

    #[wasm_bindgen(method, structural, catch)]
    fn send(this: &Wire, frame: &JsString) -> Result<(), JsValue>;
}

/// An event of a socket.
pub(crate) enum SocketEvent {
    /// A text frame, or `None` for a binary frame.
    Frame(Option<JsString>),
    /// The socket is closed, or could not be opened.
    Closed,
}

/// A connection. Dropping it closes it; it then reports no more events.
pub(crate) struct Socket {
    socket: WebSocket,
    _listener: Closure<dyn Fn(MessageEvent)>,
}

impl Socket {
    /// Starts to connect. Returns an error if the browser refuses to try.
    pub(crate) fn open(url: &str, handle: impl Fn(SocketEvent) + 'static) -> Result<Self, JsValue> {
        let socket = WebSocket::new(url)?;
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
        let function = Some(listener.as_ref().unchecked_ref());
        socket.set_onmessage(function);
        socket.set_onclose(function);
        Ok(Self { socket, _listener: listener })
    }

    /// Sends a text frame. If that fails, the connection closes.
    pub(crate) fn send(&self, frame: &JsString) {
        let _ = self.socket.unchecked_ref::<Wire>().send(frame);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        let _ = self.socket.close();
    }
}
