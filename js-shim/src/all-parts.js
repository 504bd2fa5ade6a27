// All parts, by name
// ------------------
//
// Only the ES module and the tests import this. The part `name` is `<name>-part.js`.

import debug from './debug-part.js';
import extra from './extra-part.js';
import live from './live-part.js';
import polling from './polling-part.js';
import queries from './queries-part.js';
import shared from './shared-part.js';
import status from './status-part.js';

export const PARTS = {debug, extra, live, polling, queries, shared, status};
