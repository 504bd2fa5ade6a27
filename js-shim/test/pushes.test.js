// Random pushes
// -------------
//
// `SEED=7 node --test …` runs one page, and `RUNS=1000` runs more of them.

import assert from 'node:assert/strict';
import {afterEach, test} from 'node:test';

import {start} from '../fakes/page.js';
import {RandomPage} from '../fakes/pushes.js';
import {seedsOf} from '../fakes/seeds.js';

const SEEDS = seedsOf(60);
const FRAMES = 6;

const {reportError} = globalThis;
afterEach(() => { globalThis.reportError = reportError; });

// Runs a page. `deliver(listener, room, changes)` delivers a push.
function run(seed, options, deliver = (listener, room, changes) => listener.deliver(room, changes)) {
  const errors = [];
  globalThis.reportError = error => errors.push(error.message);
  const all = start();
  const page = new RandomPage(all, seed, options);
  for (let frame = 0; frame < FRAMES; frame += 1) page.push((room, changes) => deliver(all.client.listener, room, changes));
  return {errors, log: page.log, state: page.state(), asked: all.client.requests.map(({method, url, body}) => [method, url, body]), page};
}

test('a model with a parse of its own that changes nothing fires the events of one without', () => {
  // The runtime compares the results of `parse` then, and otherwise only what a push contains.
  const makeModel = Todo => (Object.hasOwn(Todo.prototype, 'parse') ? Todo : Todo.extend({parse: record => record}));
  for (const seed of SEEDS) {
    const {page: one, ...plain} = run(seed, {isCalm: true, isSpoiling: true});
    const {page: other, ...parsed} = run(seed, {isCalm: true, isSpoiling: true, makeModel});
    assert.deepEqual(parsed, plain, `SEED=${seed}`);
  }
});

test('pushes in one frame end with the records of pushes in a frame each, in the order of the comparator', () => {
  for (const seed of SEEDS) {
    const byId = (one, other) => one.id - other.id;
    const shown = ({state}) => Object.values(state).filter(Array.isArray).map(list => list.map(([, attributes]) => attributes).sort(byId));
    const together = run(seed, {isCalm: true});
    const apart = run(seed, {isCalm: true}, (listener, room, changes) => { for (const change of changes) listener.deliver(room, [change]); });
    assert.deepEqual(shown(together), shown(apart), `SEED=${seed}`);
    for (const todos of together.page.targets.keys()) {
      const shownOrder = todos.comparator && [...todos.models];
      if (shownOrder) assert.deepEqual(shownOrder, todos.sort().models, `SEED=${seed}`);
    }
  }
});
