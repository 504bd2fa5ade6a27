// The core, in wasm
// -----------------
//
// The only module that imports the core. The wasm is part of the bundle, compressed, so that it
// starts before the next script of the page runs.

// The first import, so that the module comes first in the bundle: see `literal.rs`.
import {packed, size} from '../dist/wasm/backwire_client_wasm_bytes.js';
import {makeUse} from './parts.js';
import {Client, Queries, initSync} from '../dist/wasm/backwire_client_wasm.js';
import {unpack} from './unpack.js';

let isStarted = false;

// Throws if wasm cannot run here: an old browser, or a content security policy.
function start() {
  if (!isStarted) initSync(unpack(packed, size));
  isStarted = true;
}

// `load(name, callback)` loads a part: see `parts.js`.
export const makeCore = load => ({
  use: makeUse(load),

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
