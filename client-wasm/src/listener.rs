//! The callbacks of the page.
//!
//! An exception of a callback is logged to the console and does not stop the client.

use js_sys::JsString;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** The callbacks of the page. Each callback may call the client again. */
export interface Listener {
  /**
   * Opens a connection to this url. Returns a `WebSocket`, or an object with its `send`, `close`,
   * `onmessage` and `onclose`. Throws if the browser refuses to try.
   */
  open(url: string): Pick<WebSocket, "send" | "close" | "onmessage" | "onclose">;
  /**
   * A request is finished. Status 0 means that there is no response. `body` then has the reason:
   * "unreachable" (neither over the link nor over HTTP), or "outdated" (a write that was sent a
   * week ago). Status 413 with a number as `body` means that the request was not sent: the number
   * is the server's limit in bytes. `waited`: the request is a write that could not be sent when
   * the page made it.
   */
  finish(
    token: number, statusCode: number, body: any, headers: Record<string, string> | undefined, waited: boolean
  ): void;
  /**
   * News of a room, in order, once: [offset, verb (1 created, 2 updated, 3 destroyed, 4 left), id,
   * data, mark]. Of the room "", what was sent to the person: [0, 0, id, [event, ...args], 0]. /
  deliver(room: string, changes: [number, 1 | 2 | 3 | 4, number | string, any, number][]): void;
  /** The room has lost its place: read it again. */
  refresh(room: string): void;
  /**
   * The missed changes were delivered: `count` of them. If `recovered` is false, the server did
   * not have those of all rooms, and `refresh` was called for the others.
   */
  resumed(recovered: boolean, count: number): void;
  /** The state of the connection, and the number of unanswered writes that cannot be sent now. */
  status(state: "online" | "connecting" | "offline", unsent: number): void;
  /** There is no link. Send this request over HTTP, and always call `answeredOverHttp`. */
  http(token: number): void;
  /** The server is there. Call `Client.authenticate`, now or later. */
  authenticate(): void;
  /** A write that had waited was answered with 401. It is sent again after `authenticate`. */
  unauthorized(): void;
  /** The server refuses the connection for good, such as "E_TOKEN: …". `connect` tries again. */
  refused(message: string): void;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// The callbacks of the page.
    #[wasm_bindgen(typescript_type = "Listener")]
    pub type Listener;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn open(this: &Listener, url: &str) -> Result<Wire, JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn finish(
        this: &Listener,
        token: u32,
        status: u16,
        body: &JsValue,
        headers: &JsValue,
        waited: bool,
    ) -> Result<(), JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn deliver(
        this: &Listener,
        room: &str,
        changes: &js_sys::Array,
    ) -> Result<(), JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn refresh(this: &Listener, room: &str) -> Result<(), JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn resumed(this: &Listener, recovered: bool, count: u32) -> Result<(), JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn status(this: &Listener, state: &str, unsent: u32) -> Result<(), JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn http(this: &Listener, token: u32) -> Result<(), JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn authenticate(this: &Listener) -> Result<(), JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn unauthorized(this: &Listener) -> Result<(), JsValue>;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn refused(this: &Listener, message: &str) -> Result<(), JsValue>;
}

#[wasm_bindgen]
extern "C" {
    /// The part of a `WebSocket` that the client uses. Unlike that of web-sys, it need not be a
    /// `WebSocket`, and its `send` takes a JavaScript string: a `&str` would be copied into wasm
    /// memory and out again.
    pub(crate) type Wire;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn send(this: &Wire, frame: &JsString) -> Result<(), JsValue>;

    #[wasm_bindgen(method, structural)]
    pub(crate) fn close(this: &Wire);

    #[wasm_bindgen(method, structural, setter = onmessage)]
    pub(crate) fn set_onmessage(this: &Wire, listener: &JsValue);

    #[wasm_bindgen(method, structural, setter = onclose)]
    pub(crate) fn set_onclose(this: &Wire, listener: &JsValue);
}
