// Entry of the script tag build.

import {loadExtras, startFromTag} from './script.js';
import {makeCore} from './wasm.js';

const tag = document.currentScript;
startFromTag(window, tag, makeCore(callback => loadExtras(window, tag.src, callback)));
