// Install, the script tag, and uninstall
// --------------------------------------

import assert from 'node:assert/strict';
import {mock, test} from 'node:test';

import {FakeClient, created} from '../fakes/client.js';
import {realJquery} from '../fakes/jquery.js';
import {fakePage, freshBackbone, lateParts, loadAtOnce, start, startWithTodos} from '../fakes/page.js';
import {startFromTag} from '../src/script.js';
import {makeCore} from '../src/wasm.js';

// Collects what the runtime reports as uncaught errors.
function reported(context) {
  const errors = [];
  globalThis.reportError = error => errors.push(error.message);
  context.after(() => { delete globalThis.reportError; });
  return errors;
}

// A page whose script tag has just been reached.
function tagged(page, tag) {
  const clients = [];
  const backwire = startFromTag(page, tag, {...makeCore(loadAtOnce), makeClient: (...args) => {
    clients.push(new FakeClient(...args));
    return clients.at(-1);
  }});
  return {backwire, clients};
}

test('the tag installs Backwire at once and connects to the server that it came from', () => {
  const page = {...fakePage('http://page.test/'), Backbone: freshBackbone()};
  const {backwire, clients: [client]} = tagged(page, {src: 'http://host:1337/backwire.js', dataset: {}});
  assert.equal(page.Backwire, backwire);
  new (page.Backbone.Model.extend({urlRoot: 'todo'}))({id: 1}).fetch();
  assert.equal(client.url, 'ws://host:1337/socket.io/?EIO=4&transport=websocket');
  assert.match(client.session, /^[0-9a-f]{32}$/);
  assert.equal(typeof client.seed, 'number');
  assert.deepEqual(client.calls, ['connect']);
  assert.deepEqual(client.asked, ['GET /todo/1']);
});

test('the tag can name another server and leave connect to the page', () => {
  const page = {...fakePage('http://page.test/'), Backbone: freshBackbone()};
  const dataset = {url: 'https://other.test', connect: 'false'};
  const {backwire, clients: [client]} = tagged(page, {src: 'http://host:1337/backwire.js', dataset});
  assert.equal(client.url, 'wss://other.test/socket.io/?EIO=4&transport=websocket');
  assert.deepEqual(client.calls, []);
  backwire.connect();
  assert.deepEqual(client.calls, ['connect']);
});

test('a tag before Backbone installs itself when Backbone is defined', async () => {
  const page = fakePage();
  const {backwire, clients} = tagged(page, {src: 'http://host:1337/backwire.js', dataset: {identity: 'ann'}});
  backwire.connect().disconnect().stop({}).uninstall();
  assert.equal(page.Backbone, undefined);
  const Backbone = freshBackbone();
  page.Backbone = Backbone;
  assert.equal(clients[0].url, 'ws://host:1337/socket.io/?EIO=4&transport=websocket');
  assert.equal(page.Backbone, Backbone);
  assert.deepEqual(Object.getOwnPropertyDescriptor(page, 'Backbone'), {value: Backbone, configurable: true, enumerable: true, writable: true});
});

test('the tag waits for a Backbone that is defined before it is complete, as before 1.1', async () => {
  const page = fakePage();
  const {clients} = tagged(page, {src: 'http://host:1337/backwire.js', dataset: {}});
  page.Backbone = {};
  Object.assign(page.Backbone, freshBackbone());
  assert.equal(clients.length, 0);
  await null;
  assert.equal(clients.length, 1);
});

test('without Backbone the console explains that the tag waits for it', context => {
  const info = mock.method(console, 'info', () => {});
  context.after(() => info.mock.restore());
  const page = fakePage();
  const {backwire, clients} = tagged(page, {src: 'http://host:1337/backwire.js', dataset: {}});
  page.fire('load');
  assert.match(info.mock.calls[0].arguments[0], /waits for window\.Backbone/);
  backwire.install(freshBackbone());
  assert.equal(clients.length, 1);
});

test('a module namespace is unwrapped, and one that is frozen gets its sync on its prototypes', () => {
  const Backbone = freshBackbone();
  const original = Backbone.sync;
  const {Backwire, client} = start();
  Backwire.install({default: Backbone}, {url: 'http://app.test'});
  assert.notEqual(Backbone.sync, original);
  Backwire.uninstall();
  assert.equal(Backbone.sync, original);
  const frozen = Object.freeze({...freshBackbone()});
  const {sync} = frozen.Model.prototype;
  Backwire.install(frozen, {url: 'http://app.test'});
  assert.notEqual(frozen.Model.prototype.sync, sync);
  Backwire.uninstall();
  assert.equal(frozen.Model.prototype.sync, sync);
  assert.ok(client);
});

test('if wasm cannot start the page works as without Backwire', context => {
  const warn = mock.method(console, 'warn', () => {});
  context.after(() => warn.mock.restore());
  const refusal = new Error('WebAssembly is blocked by the content security policy');
  const {$, requests} = realJquery();
  const {Backbone, Backwire, Todo, originalSync} = start({$, makeClient: () => { throw refusal; }});
  assert.equal(Backwire.error, refusal);
  assert.equal(warn.mock.calls[0].arguments[1], refusal);
  assert.equal(Backbone.sync, originalSync);
  assert.deepEqual(Backwire.status, {state: 'offline', unsent: 0});
  new Todo({id: 1}).fetch();
  assert.deepEqual(requests.map(({url}) => url), ['/todo/1']);
  Backwire.connect().disconnect().stop(new Todo()).on('status', () => {}).uninstall();
});

test('status fires when the status changes', () => {
  const {Backwire, client} = start();
  const seen = [];
  Backwire.on('status', status => seen.push(status));
  client.listener.status('connecting', 0);
  client.listener.status('connecting', 0);
  client.listener.status('online', 0);
  client.listener.status('offline', 2);
  assert.deepEqual(seen, [
    {state: 'connecting', unsent: 0}, {state: 'online', unsent: 0}, {state: 'offline', unsent: 2}]);
  assert.equal(Backwire.status, seen[2]);
});

test('the page can go offline and come back', () => {
  const {Backwire, client} = start();
  Backwire.disconnect().connect();
  assert.deepEqual(client.calls, ['connect', 'disconnect', 'connect']);
});

test('events of the page and its document wake, park or reconnect the core until uninstall', () => {
  const {Backwire, client, page} = start();
  const show = isVisible => {
    page.document.hidden = !isVisible;
    page.document.dispatchEvent(new Event('visibilitychange'));
  };
  const fireAll = () => {
    for (const type of ['offline', 'online', 'pagehide', 'pageshow']) page.fire(type);
    show(false);
    show(true);
  };
  fireAll();
  Backwire.uninstall();
  fireAll();
  assert.deepEqual(client.calls, ['connect', 'reconnect', 'wake', 'park', 'wake', 'wake', 'disconnect']);
});

test('uninstall restores the original sync and ends all requests', async () => {
  const {$, requests} = realJquery();
  const {Backbone, Backwire, client, originalSync, todos} = startWithTodos({$});
  client.listener.status('online', 0);
  let reason;
  todos.fetch({error: (_, xhr) => { reason = xhr.statusText; }});
  Backwire.uninstall();
  assert.equal(Backbone.sync, originalSync);
  assert.equal(reason, 'abort');
  assert.deepEqual(Backwire.status, {state: 'offline', unsent: 0});
  assert.deepEqual(client.calls, ['connect', `abort ${client.requests[1].token}`, 'disconnect']);
  client.push('todo', [6, 3, 1, null, 0]);
  client.listener.status('online', 0);
  assert.deepEqual([todos.length, Backwire.status.state], [2, 'offline']);
  todos.fetch();
  assert.deepEqual(requests.map(({url}) => url), ['/todo']);
  await Promise.resolve();
  assert.equal(client.calls.at(-1), 'free');
});

test('uninstall while Backwire reads a list again ends the connection', () => {
  const {Backwire, Todos, client} = start();
  new Todos().fetch({data: {sort: 'title'}});
  client.read('todo', 5, [{id: 1, title: 'Milk'}]);
  client.push('todo', created(6, {id: 2, title: 'Eggs'}));
  assert.deepEqual(client.asked, ['GET /todo?sort=title', 'GET /todo?sort=title']);
  Backwire.uninstall();
  assert.deepEqual(client.calls, ['connect', 'abort 2', 'disconnect']);
});

test('uninstall ends all requests and the connection if an error callback throws', context => {
  const errors = reported(context);
  const {Backwire, Todo, client} = start({$: realJquery().$});
  const error = () => { throw new Error('of the page'); };
  for (const id of [1, 2]) new Todo({id}).fetch({error});
  Backwire.uninstall();
  assert.deepEqual(client.calls, ['connect', 'abort 1', 'abort 2', 'disconnect']);
  assert.deepEqual(errors, ['of the page', 'of the page']);
});

test('uninstall in a callback of a read causes no error', context => {
  const errors = reported(context);
  const {Backwire, Todos, client} = start();
  new Todos().fetch({success: () => Backwire.uninstall()});
  client.read('todo', 5, [{id: 1, title: 'Milk'}]);
  assert.deepEqual(errors, []);
});

test('after uninstall a sync that another script has wrapped passes calls on', () => {
  const {$, requests} = realJquery();
  const {Backbone, Backwire, Todo, client} = start({$});
  const ours = Backbone.sync;
  const wrapped = [];
  const wrapper = Backbone.sync = function(method) {
    wrapped.push(method);
    return ours.apply(this, arguments);
  };
  new Todo({id: 1}).fetch();
  Backwire.uninstall();
  assert.equal(Backbone.sync, wrapper);
  new Todo({id: 2}).fetch();
  assert.deepEqual(wrapped, ['read', 'read']);
  assert.deepEqual(client.asked, ['GET /todo/1']);
  assert.deepEqual(requests.map(({url}) => url), ['/todo/2']);
});

test('without a document all paths are paths of the server', () => {
  const {Todos, client} = start({page: {}, url: 'http://server.test'});
  const todos = new Todos();
  todos.url = 'lists/../todo';
  todos.fetch();
  assert.equal(client.requests[0].url, '/todo');
});

test('a second install replaces the first', () => {
  const {Backbone, Backwire, Todo, clients, originalSync} = start();
  Backwire.install(Backbone, {url: 'http://app.test', connect: false});
  new Todo({id: 1}).fetch();
  assert.deepEqual(clients.map(({asked}) => asked), [[], ['GET /todo/1']]);
  assert.deepEqual(clients.map(({calls}) => calls), [['connect', 'disconnect'], []]);
  assert.notEqual(clients[0].session, clients[1].session);
  Backwire.uninstall();
  assert.equal(Backbone.sync, originalSync);
});

// Parts that are loaded later
// ---------------------------

// A page whose receiver is loaded when the test calls `load('live')`.
function startWithoutReceiver(options) {
  const parts = lateParts('live');
  return {...start({...options, loadPart: parts.loadPart}), ...parts};
}

test('answers and pushes wait, in order, until the receiver is loaded', () => {
  const {Todos, client, load} = startWithoutReceiver();
  const todos = new Todos();
  todos.fetch();
  assert.deepEqual(client.asked, ['GET /todo']);
  client.read('todo', 5, [{id: 1, title: 'Milk'}]);
  client.push('todo', [6, 1, 2, {id: 2, title: 'Eggs'}, 0]);
  assert.equal(todos.length, 0);
  load('live');
  assert.deepEqual(todos.pluck('title'), ['Milk', 'Eggs']);
});

test('a page that cannot load the receiver works as without Backwire, and its requests are sent', context => {
  const error = mock.method(console, 'error', () => {});
  context.after(() => error.mock.restore());
  const {$} = realJquery();
  const {Backbone, Backwire, Todos, load, asked, page, originalSync} = startWithoutReceiver({$});
  const todos = new Todos();
  todos.fetch();
  load('live', null);
  assert.match(String(Backwire.error), /backwire\.live\.js/);
  assert.equal(Backbone.sync, originalSync);
  page.xhrs[0].answer(200, [{id: 1, title: 'Milk'}]);
  assert.deepEqual(todos.pluck('title'), ['Milk']);
  assert.deepEqual(asked, ['live']);
});

test('answers wait until both parts that they need are loaded, in whatever order', () => {
  for (const names of [['live', 'queries'], ['queries', 'live']]) {
    const {loadPart, load, asked} = lateParts(...names);
    const {Todos, client} = start({loadPart});
    assert.deepEqual(asked, ['live', 'queries']);
    const todos = new Todos();
    todos.fetch();
    client.read('todo', 5, [{id: 1, title: 'Milk'}]);
    load(names[0]);
    assert.equal(todos.length, 0);
    load(names[1]);
    client.push('todo', [6, 1, 2, {id: 2, title: 'Eggs'}, 0]);
    assert.deepEqual(todos.pluck('title'), ['Milk', 'Eggs']);
  }
});

test('a page that cannot load several parts reports the first, and its requests are sent once', context => {
  const error = mock.method(console, 'error', () => {});
  context.after(() => error.mock.restore());
  const {loadPart, load} = lateParts('live', 'queries');
  const {Backwire, Todos, page} = start({$: realJquery().$, loadPart});
  new Todos().fetch();
  load('queries', null);
  load('live', null);
  assert.match(String(Backwire.error), /backwire\.queries\.js/);
  assert.equal(error.mock.callCount(), 1);
  assert.equal(page.xhrs.length, 1);
});

test('kept writes are shown also if the receiver is loaded last', async () => {
  const page = fakePage();
  const former = startWithTodos({page});
  former.client.tell('offline');
  former.todos.create({title: 'Bread'});
  const {Todos, client, load} = startWithoutReceiver({page});
  client.tell('offline');
  const todos = new Todos();
  todos.fetch();
  await null;
  load('live');
  assert.deepEqual(todos.pluck('title'), ['Bread']);
});
