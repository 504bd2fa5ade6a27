// Entry of the script tag build.

import {startFromTag} from './script.js';
import {makeClient} from './wasm.js';

startFromTag(window, document.currentScript, makeClient);
