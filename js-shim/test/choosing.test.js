// Choice of what is live
// ----------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {created} from '../fakes/client.js';
import {realJquery} from '../fakes/jquery.js';
import {fakePage, freshBackbone, start, startWithTodos} from '../fakes/page.js';

const milk = {id: 1, title: 'Milk'};
const eggs = {id: 2, title: 'Eggs'};
const bread = {id: 3, title: 'Bread'};

// With jQuery, whose own requests are `sent`.
function startWithJquery(options) {
  const {$, requests} = realJquery();
  const all = start({$, ...options});
  return {...all, sent: () => [...requests, ...all.page.xhrs].map(({method, url}) => `${method} ${url}`)};
}

// Opt-in
// ------

test('with "optin" only what sets realtime to true goes over the socket', () => {
  const {Todo, Todos, client, sent} = startWithJquery({realtime: 'optin'});
  new Todo({id: 1}).fetch();
  new Todo({id: 2}).fetch({realtime: true});
  new (Todo.extend({realtime: true}))({id: 3}).fetch();
  new (Todos.extend({realtime: true}))([{id: 4}]).get(4).fetch();
  new (Todo.extend({realtime: true}))({id: 5}).fetch({realtime: false});
  assert.deepEqual(client.asked, ['GET /todo/2', 'GET /todo/3', 'GET /todo/4']);
  assert.deepEqual(sent(), ['GET /todo/1', 'GET /todo/5']);
});

// Reads that do not make their target live
// ----------------------------------------

test('a list that is read with live: false shows the answer, leaves the room and is not updated', () => {
  const {Todos, client} = start();
  const todos = new Todos();
  todos.fetch({live: false});
  client.read('todo', 5, [milk, eggs]);
  assert.deepEqual(todos.pluck('title'), ['Milk', 'Eggs']);
  assert.deepEqual(client.calls.filter(call => /^unsub/.test(call)), ['unsubscribe todo']);
  client.push('todo', created(6, bread));
  assert.equal(todos.length, 2);
});

test('live: false on a class holds for its fetches, and an option overrides it', () => {
  const {Todos, client} = start();
  const todos = new (Todos.extend({live: false}))();
  todos.fetch({live: true});
  client.read('todo', 5, [milk]);
  client.push('todo', created(6, eggs));
  assert.equal(todos.length, 2);
});

test('a live list that is read again with live: false is no longer updated, and another one is', () => {
  const {Todos, client, todos} = startWithTodos();
  const other = new Todos();
  other.fetch();
  client.read('todo', 5, [milk, eggs]);
  todos.fetch({live: false, reset: true});
  client.read('todo', 5, [milk, eggs]);
  client.push('todo', created(6, bread));
  assert.deepEqual([todos.length, other.length], [2, 3]);
  assert.deepEqual(client.calls.filter(call => /^unsub/.test(call)), []);
});

test('records that are added to a live list with live: false leave it live', () => {
  const {client, todos} = startWithTodos();
  todos.fetch({live: false, remove: false, data: {page: 2}});
  client.read('todo?["p2"]', 5, [bread]);
  client.push('todo', created(6, {id: 4, title: 'Jam'}));
  assert.deepEqual(todos.pluck('id'), [1, 2, 3, 4]);
});

// Plain Ajax while offline
// ------------------------

test('with the fallback "ajax" requests go by plain Ajax while offline, and the lists become live later', () => {
  const {Todo, Todos, client, sent} = startWithJquery({fallback: 'ajax'});
  client.tell('online');
  client.tell('connecting');
  client.tell('offline');
  const todos = new Todos();
  todos.fetch();
  new Todo({id: 1}).save();
  new Todo({id: 7}).fetch({live: false});
  assert.deepEqual([client.asked, sent()], [[], ['GET /todo', 'PUT /todo/1', 'GET /todo/7']]);
  client.tell('online');
  assert.deepEqual(client.asked, ['GET /todo']);
  client.read('todo', 5, [milk]);
  client.push('todo', created(6, eggs));
  assert.equal(todos.length, 2);
});

test('with the fallback "ajax" a request does not overtake a write that waits for the socket', () => {
  const {Todo, client, sent} = startWithJquery({fallback: 'ajax'});
  client.tell('online');
  const todo = new Todo({id: 1});
  todo.save({title: 'Milk'});
  client.tell('offline');
  todo.save({title: 'Oat milk'});
  assert.deepEqual([client.asked, sent()], [['PUT /todo/1', 'PUT /todo/1'], []]);
});

test('with the fallback "ajax" a request that fails is answered with an error', () => {
  const {Todo, client, page} = startWithJquery({fallback: 'ajax'});
  client.tell('offline');
  let status;
  new Todo({id: 1}).fetch({error: (model, xhr) => { status = xhr.status; }});
  page.xhrs[0].abort();
  assert.equal(status, 0);
});

// Stores of a localStorage plugin
// -------------------------------

// Does what Backbone.localStorage does: it answers for what has a store.
function usePlugin(Backbone) {
  const stored = [];
  const ajaxSync = Backbone.ajaxSync = Backbone.sync;
  Backbone.sync = function(method, model, options) {
    if (!model.localStorage && !model.collection?.localStorage) return ajaxSync.call(this, method, model, options);
    stored.push(`${method} ${model.localStorage?.name}`);
    options.success([]);
  };
  return stored;
}

for (const isBefore of [true, false]) {
  test(`the stores that are named belong to Backwire, with a plugin ${isBefore ? 'before' : 'after'} it`, () => {
    const {$} = realJquery();
    const page = fakePage();
    const {Backbone, Backwire, client, clients} = start({$, page});
    Backwire.uninstall();
    let stored = isBefore ? usePlugin(Backbone) : null;
    const formers = [Backbone.Model, Backbone.Collection].map(({prototype}) => prototype.sync);
    Backwire.install(Backbone, {url: 'http://app.test', adopt: {'todos-backbone': '/todos'}});
    stored ??= usePlugin(Backbone);
    const now = clients.at(-1);
    const Todos = Backbone.Collection.extend({localStorage: {name: 'todos-backbone'}});
    const todos = new Todos();
    todos.fetch();
    now.read('todos', 5, [milk]);
    todos.create({title: 'Eggs'});
    now.push('todos', created(6, bread));
    const notes = new (Backbone.Collection.extend({localStorage: {name: 'notes'}}))();
    notes.fetch();
    assert.deepEqual([client.asked, now.asked, stored], [[], ['GET /todos', 'POST /todos'], ['read notes']]);
    assert.deepEqual(todos.pluck('title'), ['Milk', 'Eggs', 'Bread']);
    Backwire.uninstall();
    assert.deepEqual([Backbone.Model, Backbone.Collection].map(({prototype}) => prototype.sync), formers);
  });
}

test('a model without a collection whose store is named gets the url of the store', () => {
  const Backbone = freshBackbone();
  const {Backwire, clients} = start();
  Backwire.install(Backbone, {url: 'http://app.test', adopt: {settings: '/settings'}});
  new (Backbone.Model.extend({localStorage: () => ({name: 'settings'})}))({id: 7}).fetch();
  assert.deepEqual(clients.at(-1).asked, ['GET /settings/7']);
});
