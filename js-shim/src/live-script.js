// Entry of the receiver's build for script tags: passes it to the script that has loaded it.

import {Receiver} from './receiver.js';

window.Backwire.receiver = {Receiver};
