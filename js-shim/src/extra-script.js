// Entry of the extras' build for script tags: passes them to the script that has loaded them.

import * as extras from './extra.js';

window.Backwire.extras = extras;
