// Part for long-polling
// ---------------------
//
// The transport of pages that cannot open a WebSocket.

import {Polling} from './polling.js';

export default {Polling};
