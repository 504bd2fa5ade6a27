// Entry of the ES module build.
//
//     import Backwire from './backwire.esm.js';
//     Backwire.install(Backbone, {url: 'http://localhost:1337'});

import {PARTS} from './all-parts.js';
import {makeBackwire} from './backwire.js';
import {makeCore} from './wasm.js';

export default makeBackwire(makeCore((name, callback) => callback(PARTS[name])), globalThis);
