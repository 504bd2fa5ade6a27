// The fake server of `backwire/testing`, with the real Backwire
// -------------------------------------------------------------

import assert from 'node:assert/strict';
import {afterEach, mock, test} from 'node:test';

import Backwire from '../src/index.js';
import {FakeLocks} from '../fakes/locks.js';
import {freshBackbone} from '../fakes/page.js';
import {fakeServer} from '../testing/index.js';

let server;
afterEach(() => {
  server?.close();
  mock.timers.reset();
});

// An app whose collection of todos is read.
async function app(records = {todo: [{id: 1, title: 'Milk'}, {id: 2, title: 'Eggs'}]}, {data, ...options} = {}) {
  server = fakeServer(records);
  const Backbone = freshBackbone();
  server.install(Backbone, options);
  const Todos = Backbone.Collection.extend({url: '/todo'});
  const todos = new Todos();
  todos.fetch({data});
  await server.settled();
  return {Backbone, Todos, todos};
}

const titles = todos => todos.pluck('title');
const saved = (model, attributes, options) => new Promise(resolve => {
  model.save(attributes, {...options, success: () => resolve('success'), error: (_, {status, responseJSON}) => resolve({status, body: responseJSON})});
});

test('collection is live with the fake server', async () => {
  const {todos} = await app();
  assert.deepEqual(titles(todos), ['Milk', 'Eggs']);
  const events = [];
  todos.on('all', (name, model, ...about) => events.push([name, model.id, about.at(-1).realtime]));
  server.create('todo', {title: 'Bread'});
  server.update('todo', 1, {title: 'Oat milk'});
  server.destroy('todo', 2);
  await server.settled();
  assert.deepEqual(titles(todos), ['Oat milk', 'Bread']);
  assert.deepEqual(events.filter(([name]) => /^(add|change|remove)$/.test(name)), [['add', 3, true], ['change', 1, true], ['remove', 2, true]]);
});

test('writes of the app are stored', async () => {
  const {todos} = await app();
  assert.equal(await saved(todos.get(1), {title: 'Rice'}), 'success');
  todos.create({title: 'Salt'});
  todos.get(2).destroy();
  await server.settled();
  assert.deepEqual(server.records('todo').map(({id, title}) => [id, title]), [[1, 'Rice'], [3, 'Salt']]);
  assert.deepEqual(server.requests.map(({method, url}) => `${method} ${url}`), ['GET /todo', 'PATCH /todo/1', 'POST /todo', 'DELETE /todo/2']);
  assert.deepEqual(server.requests[1].body, {title: 'Rice'});
  assert.deepEqual(titles(todos), ['Rice', 'Salt']);
});

test('answers are overridden until reset', async () => {
  const {todos} = await app();
  server.respond('patch', '/todo/:id', ({params, body}) => ({status: 422, body: {error: `${params.id} ${body.title}`}}));
  assert.deepEqual(await saved(todos.get(1), {title: 'Rice'}), {status: 422, body: {error: '1 Rice'}});
  server.reset();
  assert.equal(await saved(todos.get(1), {title: 'Rice'}), 'success');
  server.respond('post', '/todo', 500, {once: true});
  const [first, second] = [1, 2].map(n => saved(todos.add({n}), {}));
  assert.deepEqual([(await first).status, await second], [500, 'success']);
  server.respond('*', /^\/report/, {body: [{id: 1, total: 7}]});
  const report = new (todos.constructor.extend({url: '/report/daily/sums'}))();
  report.fetch();
  await server.settled();
  assert.deepEqual(report.toJSON(), [{id: 1, total: 7}]);
});

test('override that returns nothing leaves the request to the fake server', async () => {
  const {todos} = await app();
  server.respond('patch', '/todo/:id', ({params}) => (params.id === '2' ? 403 : undefined));
  assert.equal(await saved(todos.get(1), {done: true}), 'success');
  assert.equal((await saved(todos.get(2), {done: true})).status, 403);
});

test('settled waits for an answer that takes time', async () => {
  const {todos} = await app();
  let answer;
  server.respond('patch', '/todo/1', () => new Promise(resolve => { answer = resolve; }));
  const result = saved(todos.get(1), {done: true});
  let isSettled = false;
  const settled = server.settled().then(() => { isSettled = true; });
  await new Promise(resolve => setImmediate(resolve));
  assert.equal(isSettled, false);
  answer({status: 409, body: {}});
  await settled;
  assert.equal((await result).status, 409);
});

test('writes wait while the connection is lost and are sent once after it is back', async () => {
  const {todos} = await app();
  server.drop();
  todos.create({title: 'Bread'});
  todos.get(1).save({title: 'Rice'});
  server.create('todo', {title: 'of another'});
  await server.settled();
  assert.equal(server.requests.length, 1);
  assert.equal(Backwire.status.unsent, 2);
  assert.equal(Backwire.isPending(todos), true);
  assert.deepEqual(titles(todos), ['Rice', 'Eggs', 'Bread']);
  server.restore();
  await server.settled();
  assert.deepEqual(Backwire.status, {state: 'online', unsent: 0});
  assert.deepEqual(server.records('todo').map(({title}) => title), ['Rice', 'Eggs', 'of another', 'Bread']);
  assert.deepEqual(titles(todos).sort(), ['Bread', 'Eggs', 'Rice', 'of another']);
});

test('state becomes offline with fake timers, and requests over HTTP fail', async () => {
  mock.timers.enable({apis: ['setTimeout', 'Date']});
  const {todos} = await app();
  const states = [];
  Backwire.on('status', ({state}) => states.push(state));
  server.drop();
  const result = new Promise(resolve => todos.fetch({success: () => resolve('success'), error: () => resolve('error')}));
  for (let n = 0; n < 40; n++) {
    mock.timers.tick(250);
    await server.settled();
  }
  assert.equal(Backwire.status.state, 'offline');
  assert.equal(await result, 'error');
  server.restore();
  await server.settled();
  assert.equal(Backwire.status.state, 'online');
  assert.ok(states.includes('offline'));
});

test('filtered collection stays filtered', async () => {
  const {todos} = await app({todo: [{id: 1, done: false}, {id: 2, done: true}]}, {data: {where: {done: false}}});
  assert.deepEqual(todos.pluck('id'), [1]);
  server.update('todo', 2, {done: false});
  server.update('todo', 1, {done: true});
  server.create('todo', {done: true});
  await server.settled();
  assert.deepEqual(todos.pluck('id'), [2]);
});

test('page of a sorted list is read again when it may have changed', async () => {
  const {todos} = await app({todo: [{id: 1, n: 1}, {id: 2, n: 2}, {id: 3, n: 3}]}, {data: {sort: 'n DESC', limit: 2}});
  assert.deepEqual(todos.pluck('n'), [3, 2]);
  server.create('todo', {n: 4});
  await server.settled();
  assert.deepEqual(todos.pluck('n'), [4, 3]);
});

test('changes that were missed arrive after the connection is back', async () => {
  const {todos} = await app();
  server.drop();
  server.update('todo', 2, {title: 'Six eggs'});
  server.destroy('todo', 1);
  await server.settled();
  assert.deepEqual(titles(todos), ['Milk', 'Eggs']);
  server.restore();
  await server.settled();
  assert.deepEqual(titles(todos), ['Six eggs']);
  assert.equal(server.requests.length, 1, 'they are resumed, not read');
});

test('events of a back end reach their handler, also those sent while there is no connection', async () => {
  const heard = [];
  Backwire.socket.on('news', (...args) => { heard.push(args.slice(0, -1)); });
  await app({}, {site: 'shop', token: 'abc', url: 'http://shop.test'});
  server.push('news', 'first', {n: 1}).drop().push('news', 'second');
  await server.settled();
  server.restore();
  await server.settled();
  assert.deepEqual(heard, [['first', {n: 1}], ['second']]);
  Backwire.socket.ignore('news');
});

test('globals are back after close', async () => {
  const names = ['WebSocket', 'fetch', 'localStorage', 'addEventListener', 'removeEventListener'];
  const before = names.map(name => globalThis[name]);
  await app();
  assert.notEqual(globalThis.WebSocket, before[0]);
  server.close();
  assert.deepEqual(names.map(name => globalThis[name]), before);
  assert.equal(Backwire.status.state, 'offline');
});

test('writes of a page that was left are sent by the next one, and not to the next server', async () => {
  const {Backbone, Todos, todos} = await app();
  server.drop();
  todos.get(1).save({title: 'kept'});
  await server.settled();
  Backwire.uninstall();
  server.isReachable = true;
  server.install(Backbone);
  const again = new Todos();
  again.fetch();
  await server.settled();
  assert.deepEqual(titles(again), ['kept', 'Eggs']);
  server.drop();
  again.get(1).save({title: 'never'});
  await server.settled();
  const next = await app();
  assert.deepEqual(titles(next.todos), ['Milk', 'Eggs']);
  assert.deepEqual(server.requests.map(({method}) => method), ['GET']);
});

test('second fake server replaces the first one', async () => {
  const original = globalThis.WebSocket;
  await app();
  const {todos} = await app({todo: [{id: 5, title: 'new'}]});
  assert.deepEqual(titles(todos), ['new']);
  server.close();
  assert.equal(globalThis.WebSocket, original);
});

test('the path of Socket.IO may be another one', async () => {
  const {todos} = await app(undefined, {path: '/live'});
  assert.deepEqual(titles(todos), ['Milk', 'Eggs']);
});

test('a page with a fake server shares no connection with other pages', async context => {
  let channels = 0;
  const originals = ['navigator', 'BroadcastChannel'].map(name => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  context.after(() => {
    for (const [name, original] of originals) {
      if (original) Object.defineProperty(globalThis, name, original);
      else delete globalThis[name];
    }
  });
  Object.defineProperty(globalThis, 'navigator', {value: {locks: new FakeLocks()}, configurable: true});
  Object.defineProperty(globalThis, 'BroadcastChannel', {value: class { constructor() { channels += 1; } }, configurable: true});
  const {todos} = await app(undefined, {shared: true});
  assert.deepEqual([titles(todos), channels], [['Milk', 'Eggs'], 0]);
});
