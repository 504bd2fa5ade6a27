// The core, in wasm
// -----------------
//
// The only module that imports the core's client. The wasm is part of the bundle, compressed, so
// that it starts before the next script of the page runs. The core's other wasm module is in
// `queries-part.js`.

// The first import, so that the module comes first in the bundle: see `literal.rs`.
import {packed, size} from '../dist/wasm/backwire_client_wasm_bytes.js';
import {makeUse} from './parts.js';
import {Client, initSync} from '../dist/wasm/backwire_client_wasm.js';
import {unpack} from './unpack.js';

let bytes;
const clientModule = () => bytes ??= unpack(packed, size);

// `load(name, callback)` loads a part: see `parts.js`.
export const makeCore = load => ({
  use: makeUse(load),

  // Decompresses another module of the core. It refers to passages of the client's.
  unpack: (packed, size) => unpack(packed, size, clientModule()),

  // The connection and its requests. Throws if wasm cannot run here: an old browser, or a content
  // security policy.
  makeClient(...args) {
    initSync(clientModule());
    return new Client(...args);
  }
});
