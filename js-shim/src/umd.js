// Entry of the build with everything in one script: a module of CommonJS or AMD, or else the global
// `Backwire`. It installs nothing by itself.

import {defineModule} from './amd.js';
import backwire from './index.js';

if (typeof module === 'object' && module.exports) {
  module.exports = backwire;
} else {
  globalThis.Backwire = backwire;
  defineModule(backwire);
}
