// Part for answers and pushes
// ---------------------------
//
// Every page loads it from the start.

import {Receiver} from './receiver.js';

export default {Receiver};
