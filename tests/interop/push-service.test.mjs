// The push service with clients that npm has, unmodified
// ------------------------------------------------------
//
// Against a server with the site `shop`, whose back end knows people by tokens such as `user_1+staff`.
// A back end sends by POST, a form as jQuery makes it included.

import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {describe, test} from 'node:test';
import {io} from 'socket.io-client';
import {realJquery} from '../../js-shim/fakes/jquery.js';
import {server} from './client.mjs';
import {Pushes} from './pushes.mjs';

const oldIo = createRequire(import.meta.url)('socket.io-client-2');

const clients = {
  'socket.io-client 4.8': {
    open: (said, transports) => io(`${server}/shop`, {auth: said, transports, forceNew: true, reconnection: false}),
    refused: ['connect_error', error => error.message]
  },
  // It says the query in the name of the namespace, too.
  'socket.io-client 2.5': {
    open: (said, transports) =>
      oldIo(`${server}/shop?${new URLSearchParams(said)}`, {transports, forceNew: true, reconnection: false}),
    refused: ['error', error => error.message ?? error]
  },
  'socket.io-client 2.5 with {query}': {
    open: (query, transports) => oldIo(`${server}/shop`, {query, transports, forceNew: true, reconnection: false}),
    refused: ['error', error => error.message ?? error]
  }
};

// Who gets no answer at all would wait for it for ever.
const timeout = 30_000;

async function send(message, query = '') {
  const response = await fetch(`${server}/send?site=shop&apiKey=54321${query}`, {
    method: 'POST',
    headers: {'content-type': 'application/json'},
    body: JSON.stringify(message)
  });
  assert.deepEqual([response.status, await response.text()], [200, 'OK']);
}

// What a socket is told: `[event, ...arguments]`, a function for an ack.
function listen(socket, ...events) {
  return new Pushes(push => {
    for (const event of events) socket.on(event, (...said) => push(event, ...said));
  });
}

// From here on, what is sent is told as it comes: who has only just come may be told of it in a batch.
async function live(pushes, token) {
  for (let count = 1; ; count++) {
    await send({rooms: token, event: 'hello'});
    const push = (await pushes.count(count)).at(-1);
    push.at(-1)();
    if (push[0] === 'hello') break;
  }
  pushes.all.length = 0;
}

// Somebody that no other test knows.
let count = 0;
const person = () => `user_${process.pid}_${++count}`;

for (const [name, {open, refused}] of Object.entries(clients)) {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    describe(`${name} over ${transports.join(', then ')}`, {timeout}, () => {
      // The connection, and all of these events there have been.
      async function connect(t, said, ...events) {
        const socket = open(said, transports);
        t.after(() => socket.disconnect());
        const pushes = listen(socket, ...events);
        await new Promise((resolve, reject) => socket.on('connect', resolve).on(refused[0], reject));
        return {socket, pushes};
      }

      test('who is there is told, and has a callback to ack with', async t => {
        const token = person();
        const ann = await connect(t, {token}, 'hello', 'update_store', 'batch');
        await live(ann.pushes, token);
        await send({rooms: token, event: 'update_store', args: ['user', {id: 1, name: 'Ann'}]});
        const [[event, type, record, ack]] = await ann.pushes.count(1);
        assert.deepEqual([event, type, record], ['update_store', 'user', {id: 1, name: 'Ann'}]);
        ack();
        await send({rooms: token, event: 'update_store'});
        await ann.pushes.count(2);
        ann.socket.disconnect();
        // What was acked does not come again, and what was not does.
        const again = await connect(t, {token}, 'update_store', 'batch');
        const [[batch, events, done]] = await again.pushes.count(1);
        assert.deepEqual([batch, events], ['batch', [['update_store', null]]]);
        done();
      });

      test('what was missed is one batch in the order of sending, and does not come again once it is acked', async t => {
        const token = person();
        for (const [number, event] of ['b', 'a', 'b'].entries()) {
          await send({rooms: [token], event, args: [number]});
        }
        const ann = await connect(t, {token}, 'a', 'batch');
        const [[batch, events, ack]] = await ann.pushes.count(1);
        assert.deepEqual([batch, events], ['batch', [['b', 0], ['a', 1], ['b', 2]]]);
        ack();
        // This is told when what was acked is done with, perhaps as a batch.
        await send({rooms: [token], event: 'a', args: [3]});
        await ann.pushes.count(2);
        ann.socket.disconnect();
        const again = await connect(t, {token}, 'batch');
        assert.deepEqual((await again.pushes.count(1))[0].slice(0, 2), ['batch', [['a', 3]]]);
      });

      test('a room of many is told without a callback, and who was not there is not told', async t => {
        const token = person();
        const room = `staff${token}`;
        await send({rooms: room, event: 'lunch', args: 'too early'});
        const ann = await connect(t, {token: `${token}+${room}`}, 'hello', 'lunch', 'batch');
        await live(ann.pushes, token);
        await send({rooms: [room], event: 'lunch', args: ['soup', 12]});
        assert.deepEqual(await ann.pushes.count(1), [['lunch', 'soup', 12]]);
      });

      test('a device has a queue of its own', async t => {
        const token = person();
        const desk = await connect(t, {token, deviceId: 'desk'}, 'hello', 'news', 'batch');
        await live(desk.pushes, token);
        const phone = await connect(t, {token, deviceId: 'phone'}, 'news', 'batch');
        await send({rooms: token, event: 'news', args: [1]});
        const [push] = await phone.pushes.count(1);
        push.at(-1)();
        await desk.pushes.count(1);
        desk.socket.disconnect();
        const again = await connect(t, {token, deviceId: 'desk'}, 'batch');
        assert.deepEqual((await again.pushes.count(1))[0][1], [['news', 1]]);
      });

      test('an ack out of order of what was sent for it has the device start over', async t => {
        const token = person();
        const ann = await connect(t, {token}, 'hello', 'news', 'batch', 'resync');
        await live(ann.pushes, token);
        for (const number of [1, 2]) await send({rooms: token, event: 'news', args: [number]}, '&resync=true');
        const [, [, , ack]] = await ann.pushes.count(2);
        ack();
        assert.deepEqual((await ann.pushes.count(3))[2], ['resync']);
      });

      test('who is not let in is told why', async t => {
        for (const [token, why] of [
          ['stranger', 'Authentication error'],
          ['broken', 'Auth 500 error'],
          ['staff', 'User is missing a private room']
        ]) {
          const socket = open({token}, transports);
          t.after(() => socket.disconnect());
          const told = await new Promise((resolve, reject) => {
            socket.on(refused[0], resolve).on('connect', () => reject(new Error('it is let in')));
          });
          assert.equal(refused[1](told), why);
        }
      });
    });
  }
}

for (const [name, open] of [
  ['socket.io-client 4.8', (token, options) => io(`${server}/shop`, {auth: {token}, ...options})],
  ['socket.io-client 2.5', (token, options) => oldIo(`${server}/shop?token=${token}`, options)]
]) {
  // The default is to poll, and to become a WebSocket meanwhile.
  for (const transports of [undefined, ['websocket'], ['polling']]) {
    test(`${name} connects by itself once authUrl is back, over ${transports ?? 'both'}`, {timeout}, async t => {
      const token = `user_late_${name.at(-3)}_${transports ?? 'both'}`;
      const socket = open(token, {...(transports && {transports}), forceNew: true, reconnectionDelay: 100});
      t.after(() => socket.disconnect());
      await new Promise(resolve => socket.on('connect', resolve));
      const pushes = listen(socket, 'hello', 'batch');
      await live(pushes, token);
    });
  }
}

test('over a connection there is already, socket.io-client 2.5 says who it is as it joins the site', {timeout}, async t => {
  const first = oldIo(`${server}/`, {forceNew: true, reconnection: false});
  t.after(() => first.io.close());
  await new Promise((resolve, reject) => first.on('connect', resolve).on('error', reject));
  const token = person();
  const ann = first.io.socket('/shop', {query: {token, deviceId: 'desk & chair'}});
  const pushes = listen(ann, 'hello', 'news', 'batch');
  await new Promise((resolve, reject) => ann.on('connect', resolve).on('error', reject));
  await live(pushes, token);
  await send({rooms: token, event: 'news', args: ['for Ann']});
  const [[event, news, ack]] = await pushes.count(1);
  assert.deepEqual([event, news], ['news', 'for Ann']);
  ack();
});

test('a form as jQuery makes it says the same as JSON', {timeout}, async t => {
  const {$} = realJquery();
  const token = person();
  const socket = clients['socket.io-client 4.8'].open({token}, ['websocket']);
  t.after(() => socket.disconnect());
  const pushes = listen(socket, 'hello', 'update_store', 'batch');
  await new Promise((resolve, reject) => socket.on('connect', resolve).on('connect_error', reject));
  await live(pushes, token);
  const message = {
    rooms: [token, 'staff & co'],
    event: 'update_store',
    args: ['user', {id: 1, name: 'Ann & Bob ä', tags: ['a', 'b'], at: {home: {city: 'Ulm'}}}]
  };
  const response = await fetch(`${server}/send?site=shop&apiKey=54321`, {
    method: 'POST',
    headers: {'content-type': 'application/x-www-form-urlencoded; charset=UTF-8'},
    body: $.param(message)
  });
  assert.deepEqual([response.status, await response.text()], [200, 'OK']);
  const [[event, type, record]] = await pushes.count(1);
  assert.deepEqual([event, type], ['update_store', 'user']);
  // All values of a form are texts.
  assert.deepEqual(record, {...message.args[1], id: '1'});
});
