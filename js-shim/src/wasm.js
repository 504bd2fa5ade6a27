// The core, in wasm
// -----------------
//
// The only module that imports the core. The wasm is part of the bundle, compressed, so that it
// starts before the next script of the page runs.

// The first import, so that the module comes first in the bundle: see `literal.rs`.
import {packed, size} from '../dist/wasm/backwire_client_wasm_bytes.js';
import {Part} from './parts.js';
import {Client, Queries, initSync} from '../dist/wasm/backwire_client_wasm.js';
import {unpack} from './unpack.js';

let isStarted = false;

// Throws if wasm cannot run here: an old browser, or a content security policy.
function start() {
  if (!isStarted) initSync(unpack(packed, size));
  isStarted = true;
}

// `loadReceiver(callback)` and `loadExtras(callback)` load the parts: see `parts.js`.
export const makeCore = (loadReceiver, loadExtras) => ({
  receiver: new Part(loadReceiver),
  extras: new Part(loadExtras),

  // The connection and its requests.
  makeClient(...args) {
    start();
    return new Client(...args);
  },

  // The live queries.
  makeQueries() {
    start();
    return new Queries();
  }
});
