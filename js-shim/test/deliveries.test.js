// What back ends send
// -------------------

import assert from 'node:assert/strict';
import {mock, test} from 'node:test';

import {FakeClient} from '../fakes/client.js';
import {start, startWithTodos} from '../fakes/page.js';

const milk = {id: 1, title: 'Milk', done: false};

// What a back end has sent: the id, the event and its arguments.
const sent = (id, ...said) => [0, 0, id, said, 0];

// Lets handlers run that wait for nothing else.
async function settle() {
  for (let turn = 0; turn < 20; turn += 1) await null;
}

test('a handler is called once for each delivery, in order, and then the server is told', async () => {
  const {Backwire, client} = start();
  const heard = [];
  Backwire.socket.on('news', (text, {id}) => { heard.push([text, id]); });
  client.listener.deliver('', [sent('10', 'news', 'a'), sent('9007199254740993', 'news', 'b')]);
  await settle();
  // As after a reconnect.
  client.listener.deliver('', [sent('9007199254740993', 'news', 'b'), sent('9007199254740994', 'news', 'c')]);
  await settle();
  assert.deepEqual(heard, [['a', '10'], ['b', '9007199254740993'], ['c', '9007199254740994']]);
  assert.deepEqual(client.calls, ['connect', 'delivered 10', 'delivered 9007199254740993', 'delivered 9007199254740994']);
});

test('the next waits for what a handler promises', async () => {
  const {Backwire, client} = start();
  const heard = [];
  let keep;
  Backwire.socket.on('slow', () => new Promise(resolve => { keep = resolve; })).on('news', () => { heard.push('news'); });
  client.listener.deliver('', [sent('1', 'slow'), sent('2', 'news')]);
  await settle();
  assert.deepEqual([heard, client.calls], [[], ['connect']]);
  keep();
  await settle();
  assert.deepEqual(heard, ['news']);
});

test('a handler that throws is tried again, and after three times the page is told and the next is called', async context => {
  mock.timers.enable({apis: ['setTimeout']});
  context.after(() => mock.timers.reset());
  const {Backwire, client} = start();
  const heard = [], told = [];
  Backwire.on('undelivered', ({id, event, args, error}) => told.push([id, event, args, error.message]));
  Backwire.socket.on('bad', text => { heard.push(text); throw new Error('oops'); }).on('news', text => { heard.push(text); });
  client.listener.deliver('', [sent('1', 'bad', 'x'), sent('2', 'news', 'y')]);
  await settle();
  assert.deepEqual([heard, client.calls], [['x'], ['connect']]);
  for (let tries = 1; tries < 3; tries += 1) {
    mock.timers.tick(1000);
    await settle();
  }
  assert.deepEqual(heard, ['x', 'x', 'x', 'y']);
  assert.deepEqual(told, [['1', 'bad', ['x'], 'oops']]);
  assert.deepEqual(client.calls, ['connect', 'delivered 1', 'delivered 2']);
});

test('nothing is taken before the page has said what it listens to', async () => {
  const {Backwire, client} = start();
  const heard = [];
  client.listener.deliver('', [sent('1', 'news', 'a')]);
  await settle();
  assert.deepEqual(client.calls, ['connect']);
  Backwire.socket.on('news', text => { heard.push(text); });
  await settle();
  assert.deepEqual(heard, ['a']);
});

test('what is said to a room of many has no id and nothing is told of it', async () => {
  const {Backwire, client} = start();
  const heard = [];
  Backwire.socket.on('lunch', text => { heard.push(text); });
  client.listener.deliver('', [sent(null, 'lunch', 'a'), sent(null, 'lunch', 'a')]);
  await settle();
  assert.deepEqual([heard, client.calls], [['a', 'a'], ['connect']]);
});

test('a resync reads all that is live again, unless the page does something else about it', async () => {
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

test('the server is told the site, the token and which tab this is', () => {
  const {client} = start({site: 'shop', token: 'a b'});
  const {site, token, deviceId} = client.auth;
  assert.deepEqual([site, token, client.url], ['shop', 'a b', 'ws://app.test/socket.io/?EIO=4&transport=websocket']);
  assert.match(deviceId, /^[0-9a-f]{32}$/);
});

test('an event without a handler waits, warns, and goes on when the page has one or ignores it', async context => {
  mock.timers.enable({apis: ['setTimeout']});
  const warn = mock.method(console, 'warn', () => {});
  context.after(() => { mock.timers.reset(); warn.mock.restore(); });
  const {Backwire, client} = start();
  const heard = [];
  Backwire.socket.on('news', text => { heard.push(text); });
  client.listener.deliver('', [sent('1', 'late', 'a'), sent('2', 'news', 'b'), sent('3', 'useless'), sent('4', 'news', 'c')]);
  await settle();
  assert.deepEqual([heard, client.calls], [[], ['connect']]);
  mock.timers.tick(10000);
  assert.match(warn.mock.calls[0].arguments[0], /"late".*Backwire\.socket\.ignore\("late"\)/);
  Backwire.socket.on('late', text => { heard.push(text); });
  await settle();
  assert.deepEqual(heard, ['a', 'b']);
  Backwire.socket.ignore('useless');
  await settle();
  assert.deepEqual(heard, ['a', 'b', 'c']);
  assert.deepEqual(client.calls.slice(1), [1, 2, 3, 4].map(id => `delivered ${id}`));
});

test('connect may bring another token', () => {
  const {Backwire, client} = start({site: 'shop', token: 'old'});
  Backwire.connect({token: 'new'});
  const [, authenticate] = client.calls;
  assert.match(authenticate, /^authenticate .*"token":"new"/);
});

// Before and after
// ----------------

// A client that was freed can not be called any more, as in wasm.
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

test('after uninstall no handler is called, and nothing that was not finished is told to the server', async () => {
  const {Backwire, client} = startFreed();
  const heard = [];
  let keep;
  Backwire.socket.on('slow', () => new Promise(resolve => { keep = resolve; })).on('news', () => { heard.push('news'); });
  client.listener.deliver('', [sent('1', 'slow'), sent('2', 'news')]);
  await settle();
  Backwire.uninstall();
  keep();
  await settle();
  assert.deepEqual([heard, client.calls], [[], ['connect', 'disconnect', 'free']]);
});

test('a handler that has thrown is not tried again after uninstall', async context => {
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

test('handlers are kept from before install, and for the next one', async () => {
  const {Backbone, Backwire, clients} = startFreed();
  const heard = [];
  Backwire.uninstall();
  Backwire.socket.on('news', (text, {id}) => { heard.push([text, id]); }).ignore('toString');
  for (const id of ['1', '2']) {
    Backwire.install(Backbone);
    clients.at(-1).listener.deliver('', [sent(id, 'news', 'a'), sent(id + 0, 'toString')]);
    await settle();
  }
  assert.deepEqual(heard, [['a', '1'], ['a', '2']]);
  assert.deepEqual(clients.at(-1).calls, ['connect', 'delivered 2', 'delivered 20']);
});
