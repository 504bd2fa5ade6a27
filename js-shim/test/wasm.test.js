// Tests of the boundary to the real core: texts must cross it unchanged.

import assert from 'node:assert/strict';
import {afterEach, beforeEach, test} from 'node:test';

import {makeCore} from '../src/wasm.js';

let sockets;
let clients;

// A socket whose server is the test.
class FakeSocket {
  constructor() {
    this.sent = [];
    sockets.push(this);
  }

  send(frame) {
    this.sent.push(frame);
  }

  close() {}

  say(...frames) {
    for (const data of frames) this.onmessage({data});
  }
}

beforeEach(() => {
  sockets = [];
  clients = [];
});

afterEach(() => {
  for (const client of clients) client.free();
});

// A client that is online, its socket, and the calls that it has made.
function online() {
  const calls = [];
  const record = name => (...args) => calls.push([name, ...args]);
  const listener = {open: () => new FakeSocket(), finish: record('finish'), deliver: record('deliver'), refresh: record('refresh'), status() {}};
  const client = makeCore().makeClient('ws://server.test/socket.io/', '', 'session', 1, listener);
  clients.push(client);
  client.connect();
  sockets[0].say('0{"sid":"a","pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}', '40{"sid":"b"}');
  sockets[0].sent.length = 0;
  return {client, socket: sockets[0], calls};
}

const TEXTS = ['', 'milk', 'Käse', '牛乳', '\u{1f95b}', 'milk and 牛乳', 'a\u{7f}b', 'm'.repeat(998), 'm'.repeat(5000), 'ä'.repeat(5000)];

test('text of any alphabet and length reaches the server unchanged', () => {
  const {client, socket} = online();
  TEXTS.forEach((text, index) => {
    client.request(index + 1, 'put', `/todo/${text}`, JSON.stringify({'x-text': text}), JSON.stringify({title: text}), undefined, 0);
    const [verb, {url, headers, data}] = JSON.parse(socket.sent.pop().replace(/^\d+/, ''));
    assert.deepEqual([verb, url, headers['x-text'], data], ['put', `/todo/${text}`, text, {title: text}]);
  });
});

test('text of any alphabet and length arrives from the server unchanged', () => {
  const {client, socket, calls} = online();
  let token = 0;
  for (const text of TEXTS.filter(Boolean)) {
    token += 1;
    client.request(token, 'get', '/todo', undefined, undefined, undefined, 0);
    const [, ack] = /^42(\d+)/.exec(socket.sent.pop());
    const headers = {'backwire-position': '1:5', 'backwire-room': text};
    socket.say(`43${ack}${JSON.stringify([{statusCode: 200, body: [text], headers}])}`);
    assert.deepEqual(calls.pop(), ['finish', token, 200, [text], headers, false]);
    const change = [6, 1, text, {title: text}, 0];
    socket.say(`42${JSON.stringify(['push', text, 1, 5, [change]])}`);
    assert.deepEqual(calls.pop(), ['deliver', text, [change]]);
    client.unsubscribe(text);
    assert.deepEqual(JSON.parse(socket.sent.pop().slice(2)), ['unsubscribe', text]);
  }
});
