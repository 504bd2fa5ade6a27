// Entry of the ES module build.
//
//     import Backwire from './backwire.esm.js';
//     Backwire.install(Backbone, {url: 'http://localhost:1337'});

import {makeBackwire} from './backwire.js';
import {core} from './wasm.js';

export default makeBackwire(core, globalThis);
