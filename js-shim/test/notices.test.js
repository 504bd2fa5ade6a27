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

test('a server that is lost after the page has connected again in spite of a refusal is reported', async () => {
  const {Backwire, client} = startWithServer(0);
  client.listener.refused('E_VERSION: reload the page');
  client.tell('offline');
  await settle();
  assert.deepEqual(lines, ['error: Backwire: the server refuses this page: E_VERSION: reload the page']);
  Backwire.connect();
  client.tell('online');
  client.tell('offline');
  await settle();
  assert.deepEqual(lines.length, 2, lines.join('\n'));
  assert.match(lines[1], /^warn: .* is lost/);
});

test('a page that its content security policy blocks gets no message about the server', async () => {
  const {client, page} = startWithServer(0);
  page.document.dispatchEvent(Object.assign(new Event('securitypolicyviolation'), {blockedURI: 'ws://app.test/'}));
  client.tell('offline');
  await settle();
  assert.deepEqual(lines.length, 1, lines.join('\n'));
  assert.match(lines[0], /content security policy/);
});

test('a collection with its own sync is reported once, at the first write of one of its models', () => {
  const {Todos, client} = start();
  const todos = new (Todos.extend({sync() {}}))([{id: 1}, {id: 2}]);
  for (const model of todos.models) {
    model.save({title: 'Milk'});
    client.wrote(`todo/${model.id}`, 5 + model.id, {id: model.id, title: 'Milk'});
  }
  const [line, ...others] = lines;
  assert.match(line, /^info: Backwire: the collection of \/todo\/1 has its own `sync`, so its requests do not go through Backwire/);
  assert.deepEqual(others, []);
});

test('a model with its own sync is reported once, at the first read of its list', () => {
  const {Todo, Todos, client} = start();
  const todos = new (Todos.extend({model: Todo.extend({sync() {}})}))();
  for (const offset of [5, 6]) {
    todos.fetch();
    client.read('todo', offset, [{id: 1}]);
  }
  assert.equal(lines.length, 1, lines.join('\n'));
  assert.match(lines[0], /^info: Backwire: the model of \/todo has its own `sync`/);
});

test('a sync that calls that of Backbone is not reported', () => {
  const {Backbone, Todos, client} = start();
  const todos = new (Todos.extend({sync(...args) { return Backbone.sync.apply(this, args); }}))([{id: 1}]);
  todos.get(1).save({title: 'Milk'});
  client.wrote('todo/1', 6, {id: 1, title: 'Milk'});
  assert.deepEqual(lines, []);
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
