// All parts, by name
// ------------------
//
// Only the ES module and the tests import this. The part `name` is `<name>-part.js`.

import extra from './extra-part.js';
import live from './live-part.js';
import queries from './queries-part.js';
import shared from './shared-part.js';

export const PARTS = {extra, live, queries, shared};
