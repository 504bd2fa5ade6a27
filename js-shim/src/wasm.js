// The core, in wasm
// -----------------
//
// The only door to it. Its bytes are part of the bundle, as a string that zips well, so that it starts
// before the next script of the page runs.

import {Client, initSync} from '../dist/wasm/backwire_client_wasm.js';
import bytes from '../dist/wasm/backwire_client_wasm_bytes.js';

let isStarted = false;

// Throws if wasm cannot run here: an old browser, or a content security policy.
export function makeClient(url, session, seed, listener) {
  if (!isStarted) initSync(bytes);
  isStarted = true;
  return new Client(url, session, seed, listener);
}
