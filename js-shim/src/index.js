// Entry of the ES module build.
//
//     import Backwire from './backwire.esm.js';
//     Backwire.install(Backbone, {url: 'http://localhost:1337'});

import {makeBackwire} from './backwire.js';
import * as extras from './extra.js';
import {Receiver} from './receiver.js';
import {makeCore} from './wasm.js';

export default makeBackwire(makeCore(use => use({Receiver}), use => use(extras)), globalThis);
