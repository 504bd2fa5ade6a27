//! What the page has to offer.
//!
//! Whatever a method of the page throws is shown on the console and ends there: the client has to
//! go on.

use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** Whoever made the client. Each method may call the client again. */
export interface Listener {
  /** A request is answered; with status 0 it failed here and `body` says why: "timeout". */
  finish(token: number, statusCode: number, body: any, headers: Record<string, string> | undefined): void;
  /**
   * News of a room, in order, once: [offset, verb (1 created, 2 updated, 3 destroyed, 4 left), id, data, mark]. Of the
   * room "", what was sent to the person: [0, 0, id, [event, ...args], 0].
   */
  deliver(room: string, changes: [number, 1 | 2 | 3 | 4, number | string, any, number][]): void;
  /** The room has lost its place: read it again. */
  refresh(room: string): void;
  /** How we stand: writes that can not be sent at the moment are counted. */
  status(state: "online" | "connecting" | "offline", unsent: number): void;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// The page's side of the client.
    #[wasm_bindgen(typescript_type = "Listener")]
    pub type Listener;

    #[wasm_bindgen(method, structural, catch)]
    pub(crate) fn finish(
        this: &Listener,
        token: u32,
        status: u16,
        body: &JsValue,
        headers: &JsValue,
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
    pub(crate) fn status(this: &Listener, state: &str, unsent: u32) -> Result<(), JsValue>;
}
