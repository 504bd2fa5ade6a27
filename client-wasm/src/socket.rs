//! The one door to `WebSocket`.

use gloo_events::EventListener;
use js_sys::JsString;
use wasm_bindgen::prelude::*;
use web_sys::{Event, MessageEvent, WebSocket};

#[wasm_bindgen]
extern "C" {
    /// A `WebSocket` that takes a JavaScript string: web-sys takes a `&str`, which would copy the
    /// whole frame into wasm memory and out again.
    type Wire;

    #[wasm_bindgen(method, structural, catch)]
    fn send(this: &Wire, frame: &JsString) -> Result<(), JsValue>;
}

/// What a socket has to say.
pub(crate) enum Heard {
    /// A text frame; `None` for a binary one.
    Frame(Option<JsString>),
    /// It is closed, or could not be opened.
    Closed,
}

/// One connection. Dropping it closes it and silences it.
pub(crate) struct Socket {
    socket: WebSocket,
    _listeners: [EventListener; 2],
}

impl Socket {
    /// Starts to connect; an error if the browser will not even try.
    pub(crate) fn open(url: &str, hear: impl Fn(Heard) + Clone + 'static) -> Result<Self, JsValue> {
        let socket = WebSocket::new(url)?;
        let on_close = hear.clone();
        let on_message = move |event: &Event| {
            let data = event.unchecked_ref::<MessageEvent>().data();
            hear(Heard::Frame(data.dyn_into().ok()));
        };
        let listeners = [
            EventListener::new(&socket, "message", on_message),
            EventListener::new(&socket, "close", move |_| on_close(Heard::Closed)),
        ];
        Ok(Self { socket, _listeners: listeners })
    }

    /// Sends a text frame. One that can not be sent is lost with its connection, which closes.
    pub(crate) fn send(&self, frame: &JsString) {
        let _ = self.socket.unchecked_ref::<Wire>().send(frame);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = self.socket.close();
    }
}
