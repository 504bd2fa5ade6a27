// Entry of the receiver's build for script tags: hands it to the script that has asked for it.

import {Receiver} from './receiver.js';

window.Backwire.receiver = {Receiver};
