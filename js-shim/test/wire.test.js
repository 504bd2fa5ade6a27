// The frames in `tests/wire`, with the real core: what it sends, and what the shim gets.

import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {afterEach, test} from 'node:test';

import {makeCore} from '../src/wasm.js';
import * as wire from '../src/wire.js';

const frames = name => JSON.parse(readFileSync(new URL(`../../tests/wire/${name}.json`, import.meta.url)));
const clients = [];

afterEach(() => {
  for (const client of clients.splice(0)) client.free();
});

// A client that is online, the calls that it has made, and the frames that it has sent.
function online() {
  const calls = [];
  const sent = [];
  let socket;
  const open = () => {
    socket = {send: frame => sent.push(frame), close() {}};
    return socket;
  };
  const receive = data => socket.onmessage({data});
  const record = name => (...args) => calls.push([name, ...args]);
  const listener = {open, finish: record('finish'), deliver: record('deliver'), refresh: record('refresh'), status() {}};
  const client = makeCore().makeClient('ws://server.test/socket.io/', '', 'session', 1, listener);
  clients.push(client);
  const connect = () => {
    receive('0{"sid":"a","pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}');
    receive('40{"sid":"b"}');
  };
  client.connect();
  connect();
  assert.deepEqual(sent, [`40{"backwire":${wire.VERSION}}`]);
  let token = 0;
  // A request whose reply has these headers.
  const answered = (method, url, headers) => {
    client.request(++token, method, url, undefined, undefined, undefined, 0);
    receive(`43${token}${JSON.stringify([{statusCode: 200, body: [], headers}])}`);
    calls.pop();
  };
  const join = (room, epoch, offset) => answered('get', `/${room}`, {[wire.ROOM]: room, [wire.POSITION]: `${epoch}:${offset}`});
  const reconnect = () => {
    socket.onclose?.({});
    client.wake();
    connect();
  };
  return {client, sent, calls, receive, answered, join, reconnect};
}

// A change in the form that `means` has.
const verbs = {[wire.CREATED]: 'created', [wire.UPDATED]: 'updated', [wire.DESTROYED]: 'destroyed', [wire.LEFT]: 'left'};
const meaningOf = ([offset, verb, id, data, mark]) => ({offset, verb: verbs[verb], id, data, mark});

for (const {name, frame, means} of frames('pushes')) {
  test(`push is delivered, or its room resumed: ${name}`, () => {
    const {calls, sent, join, receive} = online();
    const {room, epoch, prev, changes} = means;
    join(room, epoch || 5, changes.length ? prev : Math.max(prev - 1, 1));
    receive(frame);
    if (changes.length) {
      const [[call, where, delivered]] = calls;
      assert.deepEqual([call, where, delivered.map(meaningOf)], ['deliver', room, changes]);
    } else {
      const [event, [[resumed]]] = JSON.parse(sent.pop().replace(/^\d+/, ''));
      assert.deepEqual([event, resumed], [wire.RESUME, room]);
    }
  });
}

for (const {name, frame, means} of frames('user-events')) {
  test(`events for the user are delivered: ${name}`, () => {
    const {calls, receive} = online();
    receive(frame);
    const [[call, room, delivered]] = calls;
    assert.deepEqual([call, room], ['deliver', '']);
    assert.deepEqual(delivered.map(([, , id, content]) => ({id, content})), means.events);
  });
}

for (const {name, request, reply, means} of frames('requests')) {
  test(`request is sent and its reply is passed on: ${name}`, () => {
    const {client, calls, sent, receive} = online();
    const text = value => value === null ? undefined : JSON.stringify(value);
    client.request(1, means.verb, means.url, text(means.headers), text(means.data), means.key ?? undefined, 0);
    assert.equal(sent.pop(), request);
    receive(reply);
    const {status, headers, body} = means.reply;
    assert.deepEqual(calls, [['finish', 1, status, body ?? undefined, headers, false]]);
  });
}

for (const {name, request, answer, means: {rooms}} of frames('resumes')) {
  test(`rooms are resumed after a reconnect: ${name}`, () => {
    const {calls, sent, receive, answered, join, reconnect} = online();
    for (const {room, epoch, offset, ahead} of rooms) {
      join(room, epoch, offset);
      ahead.forEach((position, index) => {
        const record = `${room}/${9 + index}`;
        answered('put', `/${record}`, {[wire.RECORD]: record, [wire.POSITION]: position.join(':')});
      });
    }
    reconnect();
    // A resume that was sent before has taken an ack id.
    const [, ack, event] = /^42(\d+)(.*)$/.exec(sent.pop());
    assert.equal(event, request.replace(/^\d+/, ''));
    receive(answer.replace(/^\d+/, `43${ack}`));
    const isNew = ahead => change => !(ahead[change.id - 9]?.[1] >= change.offset);
    const expected = rooms.map(({room, ahead, answer: missed}) =>
      missed ? ['deliver', room, missed.changes.filter(isNew(ahead))] : ['refresh', room]);
    const heard = calls.map(([call, room, changes]) => changes ? [call, room, changes.map(meaningOf)] : [call, room]);
    assert.deepEqual(heard, expected);
  });
}
