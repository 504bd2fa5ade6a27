// Collecting garbage
// ------------------

import {setImmediate} from 'node:timers/promises';
import {setFlagsFromString} from 'node:v8';
import {runInNewContext} from 'node:vm';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');

// Lets go of all that nobody holds, and lets those hear of it who want to. What this turn has looked at
// stays until the next.
export async function collectGarbage() {
  for (let turn = 0; turn < 5; turn += 1) {
    await setImmediate();
    gc();
  }
}
