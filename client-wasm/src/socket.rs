//! The one door to `WebSocket`.

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
pub(crate) enum Heard {
    /// A text frame; `None` for a binary one.
    Frame(Option<JsString>),
    /// It is closed, or could not be opened.
    Closed,
}

/// One connection. Dropping it closes it and silences it.
pub(crate) struct Socket {
    socket: WebSocket,
    _listener: Closure<dyn Fn(MessageEvent)>,
}

impl Socket {
    /// Starts to connect; an error if the browser will not even try.
    pub(crate) fn open(url: &str, hear: impl Fn(Heard) + 'static) -> Result<Self, JsValue> {
        let socket = WebSocket::new(url)?;
        // One listener is enough, and half the glue: a message always has data, a closing never.
        let listener = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
            let data = event.data();
            hear(if data.is_undefined() {
                Heard::Closed
            } else {
                Heard::Frame(data.dyn_into().ok())
            });
        });
        let function = Some(listener.as_ref().unchecked_ref());
        socket.set_onmessage(function);
        socket.set_onclose(function);
        Ok(Self { socket, _listener: listener })
    }

    /// Sends a text frame. One that cannot be sent is lost with its connection, which closes.
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
