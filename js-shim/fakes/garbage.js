// Garbage collection
// ------------------

import {setImmediate} from 'node:timers/promises';
import {setFlagsFromString} from 'node:v8';
import {runInNewContext} from 'node:vm';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');

// Collects unreachable objects and runs their finalization callbacks. This takes several turns,
// because a `WeakRef` that was read keeps its target until the end of the turn.
export async function collectGarbage() {
  for (let turn = 0; turn < 5; turn += 1) {
    await setImmediate();
    gc();
  }
}
