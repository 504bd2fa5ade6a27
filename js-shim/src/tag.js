// Entry of the script tag build.

import {loadPart, startFromTag} from './script.js';
import {makeCore} from './wasm.js';

const tag = document.currentScript;
const load = (file, name) => callback => loadPart(window, tag.src, file, name, callback);
startFromTag(window, tag, makeCore(load('live', 'receiver'), load('extra', 'extras')));
