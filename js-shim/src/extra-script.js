// Entry of the extras' build for script tags: hands them to the script that has asked for them.

import * as extras from './extra.js';

window.Backwire.extras = extras;
