// Part for live queries
// ---------------------
//
// Which collections and models are live, and which records they show. The core decides the latter,
// in a wasm module of its own, so that the first requests of a page do not wait for it. Every page
// loads this part from the start.

import {packed, size} from '../dist/wasm/backwire_queries_wasm_bytes.js';
import {Queries as Core, initSync} from '../dist/wasm/backwire_queries_wasm.js';
import {Queries} from './queries.js';
import {Targets} from './targets.js';

let isStarted = false;

export default {
  Targets,

  // `unpack` decompresses the wasm module: see `wasm.js`.
  makeQueries(unpack) {
    if (!isStarted) initSync(unpack(packed, size));
    isStarted = true;
    return new Queries(new Core());
  }
};
