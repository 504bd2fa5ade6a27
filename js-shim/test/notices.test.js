// Messages about the connection
// -----------------------------

import assert from 'node:assert/strict';
import {afterEach, beforeEach, mock, test} from 'node:test';

import {fakePage, start} from '../fakes/page.js';

let lines;

beforeEach(() => {
  lines = [];
  for (const name of ['error', 'warn', 'info']) mock.method(console, name, text => lines.push(`${name}: ${text}`));
});
afterEach(() => mock.restoreAll());

const settle = () => new Promise(resolve => { setImmediate(resolve); });

// A page whose server answers a request over HTTP with this status and body, or not at all.
function startWithServer(status, body = {}, options = {}) {
  const page = Object.assign(fakePage(), {
    navigator: {onLine: true},
    fetch: async () => {
      if (!status) throw new TypeError('failed to fetch');
      return new Response(JSON.stringify(body), {status});
    },
    ...options
  });
  return {page, ...start({page})};
}

for (const [name, wasOnline, status, body, expected] of [
  ['a server that cannot be reached', false, 0, {}, /^error: Backwire: the server at http:\/\/app.test cannot be reached\. Start it, or correct data-url/],
  ['a lost server', true, 0, {}, /^warn: Backwire: the connection to http:\/\/app.test is lost\. Writes wait/],
  ['another server at this address', false, 404, {}, /^error: .* answers 404 at \/socket.io\/\. Correct data-url or data-path .*, or let the proxy/],
  ['a proxy without a server', true, 502, {}, /^warn: .* answers 502 at the moment/]
]) {
  test(`one message tells about ${name}`, async () => {
    const {client} = startWithServer(status, body);
    if (wasOnline) client.tell('online');
    for (let time = 0; time < 3; time++) {
      client.tell('connecting');
      client.tell('offline');
      await settle();
    }
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0], expected);
  });
}

test('a page of a forbidden origin is told so once', async () => {
  const {client} = startWithServer(403, {code: 'E_ORIGIN', message: 'pages of x may not connect'});
  client.tell('offline');
  await settle();
  assert.deepEqual(client.calls, ['connect', 'refuse E_ORIGIN: pages of x may not connect']);
  client.listener.refused('E_ORIGIN: pages of x may not connect');
  client.tell('offline');
  await settle();
  assert.deepEqual(lines, ['error: Backwire: the server refuses this page: E_ORIGIN: pages of x may not connect']);
});

test('a page that is offline on purpose, or whose device has no network, gets no message', async () => {
  const {Backwire, client} = startWithServer(0);
  Backwire.disconnect();
  client.tell('offline');
  const other = startWithServer(0, {}, {navigator: {onLine: false}});
  other.client.tell('offline');
  await settle();
  assert.deepEqual(lines, []);
});
