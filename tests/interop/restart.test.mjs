// A server that is killed and started again, and four generations of clients that do nothing about
// it
// -------------------------------------------------------------------------------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';
import {server} from './client.mjs';
import {generations} from './generations.mjs';
import {Pushes} from './pushes.mjs';

const control = process.env.BACKWIRE_TEST_CONTROL;

async function send(message) {
  const response = await fetch(`${server}/send?site=shop&apiKey=54321`, {
    method: 'POST',
    headers: {'content-type': 'application/json'},
    body: JSON.stringify(message)
  });
  assert.equal(response.status, 200);
}

test('all clients come back after a restart, and get what they had not acked and what was sent meanwhile', {timeout: 120_000}, async t => {
  const clients = [];
  for (const [number, {name, open}] of generations.entries()) {
    for (const transports of [['websocket'], ['polling']]) {
      const token = `user_${number}_${transports}`;
      const options = {transports, forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 300};
      const socket = open('shop', {token}, options);
      t.after(() => socket.disconnect());
      const pushes = new Pushes(push => {
        for (const event of ['connect', 'news', 'batch']) socket.on(event, (...args) => push(event, ...args));
      });
      await pushes.count(1);
      clients.push({name: `${name} over ${transports}`, token, pushes});
    }
  }
  for (const {token, pushes} of clients) {
    // Live, or in a batch if it has only just come.
    await send({rooms: token, event: 'news', args: [1]});
    await pushes.count(2);
    pushes.all.length = 0;
  }
  assert.equal((await fetch(`${control}/restart`, {method: 'POST'})).status, 200);
  for (const {token} of clients) await send({rooms: token, event: 'news', args: [2]});
  for (const {name, pushes} of clients) {
    const seen = [];
    for (let count = 1; seen.length < 2; count++) {
      const [event, ...args] = (await pushes.count(count)).at(count - 1);
      if (event === 'batch') args[0].forEach(([, number]) => seen.push(number));
      if (event === 'news') seen.push(args[0]);
      if (event !== 'connect') args.at(-1)();
    }
    assert.deepEqual([pushes.all[0][0], seen], ['connect', [1, 2]], name);
  }
});
