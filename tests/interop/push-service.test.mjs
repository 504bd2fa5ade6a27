// The push service with clients that npm has, unmodified
// ------------------------------------------------------
//
// Four generations of socket.io-client against a server with the site `shop`, whose back end knows
// people by tokens such as `user_1+staff`, percent-encoded, and the site `desk`, whose events are
// underscored. A back end sends by POST, a form as jQuery makes it included.

import assert from 'node:assert/strict';
import {describe, test} from 'node:test';
import {realJquery} from '../../js-shim/fakes/jquery.js';
import {server} from './client.mjs';
import {generations, oldIo, text} from './generations.mjs';
import {Pushes} from './pushes.mjs';

// A test without an answer would wait for ever.
const timeout = 30_000;

async function send(message, query = '', site = 'shop') {
  const response = await fetch(`${server}/send?site=${site}&apiKey=54321${query}`, {
    method: 'POST',
    headers: {'content-type': 'application/json'},
    body: JSON.stringify(message)
  });
  assert.deepEqual([response.status, await response.text()], [200, 'OK']);
}

// Records the events that a socket receives: `[event, ...arguments]`, a function for an ack.
function listen(socket, ...events) {
  return new Pushes(push => {
    for (const event of events) socket.on(event, (...said) => push(event, ...said));
  });
}

// From here on, what is sent is told as it comes: who has only just come may be told of it in a
// batch.
async function live(pushes, room, site) {
  for (let count = 1; ; count++) {
    await send({rooms: room, event: 'hello'}, '', site);
    const push = (await pushes.count(count)).at(-1);
    push.at(-1)();
    if (push[0] === 'hello') break;
  }
  pushes.all.length = 0;
}

// Somebody that no other test knows.
let count = 0;
const person = () => `user_${process.pid}_${++count}`;

for (const {name, open, refused} of generations) {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    describe(`${name} over ${transports.join(', then ')}`, {timeout}, () => {
      // The connection, and all of these events there have been.
      async function connect(t, said, ...events) {
        const {site = 'shop', ...query} = said;
        const socket = open(site, query, {transports, forceNew: true, reconnection: false});
        t.after(() => socket.disconnect());
        const pushes = listen(socket, ...events);
        await new Promise((resolve, reject) => socket.on('connect', resolve).on(refused, reject));
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
        // Messages that were acked do not come again, and others do.
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

      test('who is not let in is told why, as its generation is told it', async t => {
        for (const [token, why, site = 'shop'] of [
          ['stranger', 'Authentication error'],
          ['broken', 'Auth 500 error'],
          ['staff', 'User is missing a private room'],
          ['user_1', 'Invalid namespace', 'nosuchsite']
        ]) {
          const socket = open(site, {token}, {transports, forceNew: true, reconnection: false});
          t.after(() => socket.disconnect());
          const told = await new Promise((resolve, reject) => {
            socket.on(refused, resolve).on('connect', () => reject(new Error('it is let in')));
          });
          // Pages of the SocketIO Web Service compare the string: `reason.indexOf('Auth') === 0`.
          assert.equal(refused === 'error' ? told : told.message, why);
        }
      });

      test('events with underscored names are sent where the site has them', async t => {
        const token = person();
        await send({rooms: token, event: 'news', args: [1]}, '', 'desk');
        const ann = await connect(t, {site: 'desk', token}, '_settings', '_batch', '_resync', 'hello', 'news');
        const [settings, [batch, events, done]] = await ann.pushes.count(2);
        assert.deepEqual(settings, ['_settings', {device_ttl: 3600}]);
        assert.deepEqual([batch, events], ['_batch', [['news', 1]]]);
        done();
        ann.pushes.all.length = 0;
        await live(ann.pushes, token, 'desk');
        for (const number of [2, 3]) await send({rooms: token, event: 'news', args: [number]}, '&resync=true', 'desk');
        const [, [, , ack]] = await ann.pushes.count(2);
        ack();
        assert.deepEqual((await ann.pushes.count(3))[2], ['_resync']);
      });

      test('text other than ASCII arrives both ways', async t => {
        const room = `${person()} ${text}`;
        const [token, deviceId] = [encodeURIComponent(room), `büro ${text}`];
        const ann = await connect(t, {token, deviceId}, 'hello', 'größe', 'batch');
        await live(ann.pushes, room);
        await send({rooms: room, event: 'größe', args: [text, {[text]: [text, 1]}]});
        const [[event, ...args]] = await ann.pushes.count(1);
        assert.deepEqual([event, ...args.slice(0, -1)], ['größe', text, {[text]: [text, 1]}]);
        args.at(-1)(text);
        await send({rooms: room, event: 'größe', args: [2]});
        await ann.pushes.count(2);
        // Another device acks it. The first one's queue keeps it, under the name that the client
        // has given.
        const phone = await connect(t, {token, deviceId: 'phone'}, 'größe', 'batch');
        (await phone.pushes.count(1))[0].at(-1)();
        ann.socket.disconnect();
        const again = generations.at(-1).open('shop', {token, deviceId}, {forceNew: true});
        t.after(() => again.disconnect());
        const pushes = listen(again, 'batch');
        assert.deepEqual((await pushes.count(1))[0].slice(0, 2), ['batch', [['größe', 2]]]);
      });

      test('large messages arrive, live and in a batch', async t => {
        const token = person();
        const large = {ascii: 'x'.repeat(400_000), text: text.repeat(20_000)};
        await send({rooms: token, event: 'news', args: large});
        const ann = await connect(t, {token}, 'hello', 'news', 'batch');
        const [[, events, done]] = await ann.pushes.count(1);
        assert.deepEqual(events, [['news', large]]);
        done();
        ann.pushes.all.length = 0;
        await live(ann.pushes, token);
        await send({rooms: token, event: 'news', args: large});
        const [[event, args, ack]] = await ann.pushes.count(1);
        assert.deepEqual([event, args], ['news', large]);
        ack(large.text);
        await send({rooms: token, event: 'news', args: 'small'});
        assert.deepEqual((await ann.pushes.count(2))[1].slice(0, 2), ['news', 'small']);
      });
    });
  }
}

for (const {name, open} of generations) {
  // The default is to poll, and to become a WebSocket meanwhile.
  for (const transports of [undefined, ['websocket'], ['polling']]) {
    test(`${name} connects by itself once authUrl is back, over ${transports ?? 'both'}`, {timeout}, async t => {
      const token = `user_late_${encodeURIComponent(name)}_${transports ?? 'both'}`;
      const socket = open('shop', {token}, {...(transports && {transports}), forceNew: true, reconnectionDelay: 100});
      t.after(() => socket.disconnect());
      await new Promise(resolve => socket.on('connect', resolve));
      const pushes = listen(socket, 'hello', 'batch');
      await live(pushes, decodeURIComponent(token));
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
  const socket = generations.at(-1).open('shop', {token}, {transports: ['websocket'], forceNew: true});
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
