// Entry of the script tag build.

// The first import, so that the wasm module comes first in the bundle: see `xtask/src/literal.rs`.
import {makeCore} from './wasm.js';
import {defineModule} from './amd.js';
import {loadPart, startFromTag} from './script.js';

const tag = document.currentScript;
defineModule(startFromTag(window, tag, makeCore((name, callback) => loadPart(window, tag.src, name, callback))));
