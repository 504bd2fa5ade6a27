// Events of back ends
// -------------------

import assert from 'node:assert/strict';
import {mock, test} from 'node:test';

import {FakeClient} from '../fakes/client.js';
import {start, startWithTodos} from '../fakes/page.js';

const milk = {id: 1, title: 'Milk', done: false};

// A push from a back end: the id, the event and its arguments.
const sent = (id, ...content) => [0, 0, id, content, 0];

// Runs handlers that wait for nothing else.
async function settle() {
  for (let turn = 0; turn < 20; turn += 1) await null;
}

test('a handler is called once for each delivery, in order, and then the delivery is confirmed', async () => {
  const {Backwire, client} = start();
  const received = [];
  Backwire.socket.on('news', (text, {id}) => { received.push([text, id]); });
  client.listener.deliver('', [sent('10', 'news', 'a'), sent('9007199254740993', 'news', 'b')]);
  await settle();
  // As after a reconnect.
  client.listener.deliver('', [sent('9007199254740993', 'news', 'b'), sent('9007199254740994', 'news', 'c')]);
  await settle();
  assert.deepEqual(received, [['a', '10'], ['b', '9007199254740993'], ['c', '9007199254740994']]);
  const confirmed = ['10', '9007199254740993', '9007199254740993', '9007199254740994'];
  assert.deepEqual(client.calls, ['connect', ...confirmed.map(id => `delivered ${id}`)]);
});

test('a handled event that comes again alone is confirmed again, because the server waits for that', async () => {
  const {Backwire, client} = start();
  const received = [];
  Backwire.socket.on('news', text => { received.push(text); });
  for (let times = 0; times < 2; times += 1) {
    client.listener.deliver('', [sent('10', 'news', 'a')]);
    await settle();
  }
  assert.deepEqual([received, client.calls], [['a'], ['connect', 'delivered 10', 'delivered 10']]);
});

test('the next event waits for the promise of a handler', async () => {
  const {Backwire, client} = start();
  const received = [];
  let keep;
  Backwire.socket.on('slow', () => new Promise(resolve => { keep = resolve; })).on('news', () => { received.push('news'); });
  client.listener.deliver('', [sent('1', 'slow'), sent('2', 'news')]);
  await settle();
  assert.deepEqual([received, client.calls], [[], ['connect']]);
  keep();
  await settle();
  assert.deepEqual(received, ['news']);
});

test('a handler that throws is called three times, then undelivered fires and the next event is handled', async context => {
  mock.timers.enable({apis: ['setTimeout']});
  context.after(() => mock.timers.reset());
  const {Backwire, client} = start();
  const received = [], undelivered = [];
  Backwire.on('undelivered', ({id, event, args, error}) => undelivered.push([id, event, args, error.message]));
  Backwire.socket.on('bad', text => { received.push(text); throw new Error('oops'); }).on('news', text => { received.push(text); });
  client.listener.deliver('', [sent('1', 'bad', 'x'), sent('2', 'news', 'y')]);
  await settle();
  assert.deepEqual([received, client.calls], [['x'], ['connect']]);
  for (let tries = 1; tries < 3; tries += 1) {
    mock.timers.tick(1000);
    await settle();
  }
  assert.deepEqual(received, ['x', 'x', 'x', 'y']);
  assert.deepEqual(undelivered, [['1', 'bad', ['x'], 'oops']]);
  assert.deepEqual(client.calls, ['connect', 'delivered 1', 'delivered 2']);
});

test('no event is handled before the page has set a handler', async () => {
  const {Backwire, client} = start();
  const received = [];
  client.listener.deliver('', [sent('1', 'news', 'a')]);
  await settle();
  assert.deepEqual(client.calls, ['connect']);
  Backwire.socket.on('news', text => { received.push(text); });
  await settle();
  assert.deepEqual(received, ['a']);
});

test('an event to a room of several people has no id and is not confirmed', async () => {
  const {Backwire, client} = start();
  const received = [];
  Backwire.socket.on('lunch', text => { received.push(text); });
  client.listener.deliver('', [sent(null, 'lunch', 'a'), sent(null, 'lunch', 'a')]);
  await settle();
  assert.deepEqual([received, client.calls], [['a', 'a'], ['connect']]);
});

test('a resync reads all live queries again, unless the page has a handler for it', async () => {
  const {Backwire, client} = startWithTodos();
  Backwire.socket.on('news', () => {});
  client.listener.deliver('', [sent('1')]);
  await settle();
  assert.deepEqual(client.asked, ['GET /todo', 'GET /todo']);
  let count = 0;
  Backwire.socket.on('resync', () => { count += 1; });
  client.listener.deliver('', [sent('2')]);
  await settle();
  assert.deepEqual([count, client.asked.length], [1, 2]);
});

test('an event that is bound to a resource adds, changes and removes its records', async () => {
  const {todos, client} = startWithTodos({bind: {update_store: 'todo'}});
  client.listener.deliver('', [sent('1', 'update_store', {id: 3, title: 'Jam'})]);
  await settle();
  assert.deepEqual(todos.pluck('title'), ['Milk', 'Eggs', 'Jam']);
  client.listener.deliver('', [
    sent('2', 'update_store', 'update', {...milk, title: 'Oat milk'}),
    sent('3', 'update_store', 'delete', {id: 2})
  ]);
  await settle();
  assert.deepEqual(todos.pluck('title'), ['Oat milk', 'Jam']);
});

test('the server gets the site, the token and a device id for the tab', () => {
  const {client} = start({site: 'shop', token: 'a b'});
  assert.equal(client.auth, undefined);
  const {site, token, deviceId} = client.join();
  assert.deepEqual([site, token, client.url], ['shop', 'a b', 'ws://app.test/socket.io/?EIO=4&transport=websocket']);
  assert.match(deviceId, /^[0-9a-f]{32}$/);
});

test('an event without a handler waits, warns, and goes on when the page has one or ignores it', async context => {
  mock.timers.enable({apis: ['setTimeout']});
  const warn = mock.method(console, 'warn', () => {});
  context.after(() => { mock.timers.reset(); warn.mock.restore(); });
  const {Backwire, client} = start();
  const received = [];
  Backwire.socket.on('news', text => { received.push(text); });
  client.listener.deliver('', [sent('1', 'late', 'a'), sent('2', 'news', 'b'), sent('3', 'useless'), sent('4', 'news', 'c')]);
  await settle();
  assert.deepEqual([received, client.calls], [[], ['connect']]);
  mock.timers.tick(10000);
  assert.match(warn.mock.calls[0].arguments[0], /"late".*Backwire\.socket\.ignore\("late"\)/);
  Backwire.socket.on('late', text => { received.push(text); });
  await settle();
  assert.deepEqual(received, ['a', 'b']);
  Backwire.socket.ignore('useless');
  await settle();
  assert.deepEqual(received, ['a', 'b', 'c']);
  assert.deepEqual(client.calls.slice(1), [1, 2, 3, 4].map(id => `delivered ${id}`));
});

// Before install and after uninstall
// ----------------------------------

// A freed client cannot be called any more, as in wasm.
class FreedClient extends FakeClient {
  free() {
    super.free();
    this.delivered = () => assert.fail('a freed client was called');
  }
}

function startFreed() {
  const clients = [];
  const all = start({makeClient: (...args) => clients[clients.push(new FreedClient(...args)) - 1]});
  return {...all, client: clients[0], clients};
}

test('after uninstall no handler is called and unfinished events are not confirmed', async () => {
  const {Backwire, client} = startFreed();
  const received = [];
  let keep;
  Backwire.socket.on('slow', () => new Promise(resolve => { keep = resolve; })).on('news', () => { received.push('news'); });
  client.listener.deliver('', [sent('1', 'slow'), sent('2', 'news')]);
  await settle();
  Backwire.uninstall();
  keep();
  await settle();
  assert.deepEqual([received, client.calls], [[], ['connect', 'disconnect', 'free']]);
});

test('a handler that has thrown is not called again after uninstall', async context => {
  mock.timers.enable({apis: ['setTimeout']});
  context.after(() => mock.timers.reset());
  const {Backwire, client} = startFreed();
  let tries = 0;
  Backwire.socket.on('bad', () => { tries += 1; throw new Error('oops'); });
  client.listener.deliver('', [sent('1', 'bad')]);
  await settle();
  Backwire.uninstall();
  mock.timers.tick(1000);
  await settle();
  assert.deepEqual([tries, client.calls], [1, ['connect', 'disconnect', 'free']]);
});

test('handlers set before install are called, also after the next install', async () => {
  const {Backbone, Backwire, clients} = startFreed();
  const received = [];
  Backwire.uninstall();
  Backwire.socket.on('news', (text, {id}) => { received.push([text, id]); }).ignore('toString');
  for (const id of ['1', '2']) {
    Backwire.install(Backbone);
    clients.at(-1).listener.deliver('', [sent(id, 'news', 'a'), sent(id + 0, 'toString')]);
    await settle();
  }
  assert.deepEqual(received, [['a', '1'], ['a', '2']]);
  assert.deepEqual(clients.at(-1).calls, ['connect', 'delivered 2', 'delivered 20']);
});
