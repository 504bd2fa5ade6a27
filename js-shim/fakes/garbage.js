// Garbage collection
// ------------------

import {setImmediate} from 'node:timers/promises';
import {setFlagsFromString} from 'node:v8';
import {runInNewContext} from 'node:vm';

export const milk = {id: 1, title: 'Milk', done: false};
export const eggs = {id: 2, title: 'Eggs', done: false};

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

// Makes a live collection that only this call holds.
export function follow({Todos, client}, before = () => {}) {
  const todos = new Todos();
  before(todos);
  todos.fetch();
  client.read('todo', 5, [milk, eggs]);
  return new WeakRef(todos);
}

// Returns the calls of a fake client that leave rooms.
export const left = client => client.calls.filter(call => call.startsWith('unsubscribe'));
