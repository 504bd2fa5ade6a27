// Parts in files of their own
// ---------------------------
//
// `backwire.js` sends the first requests of a page and loads parts. A part is the default export of
// `<name>-part.js`: an object with classes and functions. Every page needs the parts `live` and
// `queries`, so they are loaded from the start; the others are loaded on demand. For script tags
// each part is a script, `backwire.<name>.js`. The ES module contains all parts.

import {attempt} from './attempt.js';

// `load(name, callback)` loads a part and calls back with it, or with null if it cannot be loaded.
// Returns `use(name, callback)`, which calls back at once if the part is loaded. A part that could
// not be loaded is loaded again at the next use.
export function makeUse(load) {
  const parts = {};
  const waiting = {};
  return (name, callback) => {
    if (parts[name]) return callback(parts[name]);
    const callbacks = waiting[name] ??= [];
    if (callbacks.push(callback) > 1) return;
    load(name, part => {
      parts[name] = part;
      for (const each of callbacks.splice(0)) attempt(() => each(part));
    });
  };
}
