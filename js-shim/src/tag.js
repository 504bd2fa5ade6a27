// Entry of the script tag build.

import {startFromTag} from './script.js';
import {core} from './wasm.js';

startFromTag(window, document.currentScript, core);
