// Writes that a reload must not lose
// ----------------------------------

import assert from 'node:assert/strict';
import {mock, test} from 'node:test';

import {FakeClient} from '../fakes/client.js';
import {fakePage, fakeStorage, start, startWithTodos} from '../fakes/page.js';

const items = page => Object.values(page.localStorage).map(item => JSON.parse(item));

test('a write that cannot be sent is kept before save returns, and until it is answered', () => {
  const {Todo, client, page} = start();
  client.tell('offline');
  new Todo({title: 'Milk'}).save();
  const [item] = items(page);
  assert.deepEqual({...item, body: JSON.parse(item.body)}, {
    key: `${client.session}-1`, kind: 'create', method: 'post', url: '/todo', body: {title: 'Milk'}, record: {title: 'Milk'}, owner: client.session
  });
  client.tell('online');
  client.wrote('todo/1', 1, {id: 1, title: 'Milk'});
  assert.deepEqual(items(page), []);
});

test('a pending write is kept when the connection breaks, a pending read is not', () => {
  const {Todo, client, page} = start();
  client.tell('online');
  new Todo({id: 7, title: 'Milk'}).save();
  new Todo({id: 7}).fetch();
  assert.deepEqual(items(page), []);
  client.tell('connecting', 1);
  assert.deepEqual(items(page).map(({method, url}) => `${method} ${url}`), ['put /todo/7']);
});

test('the next page sends the kept writes again, in order and with their keys', () => {
  const page = fakePage();
  const former = start({page});
  former.client.tell('offline');
  for (let id = 1; id <= 12; id++) new former.Todo({id, title: 'Milk'}).save();
  const {client} = start({page});
  assert.deepEqual(client.asked, former.client.asked);
  assert.deepEqual(client.requests.map(({key}) => key), former.client.requests.map((_, made) => `${former.client.session}-${made + 1}`));
  client.wrote('todo/1', 1, {id: 1, title: 'Milk'}, client.requests[0]);
  assert.equal(items(page).length, 11);
});

test('the reply to a kept write changes live collections', () => {
  const page = fakePage();
  const former = start({page});
  former.client.tell('offline');
  new former.Todo({title: 'Bread'}).save();
  const {todos, client} = startWithTodos({page});
  client.wrote('todo/3', 6, {id: 3, title: 'Bread'}, client.requests[0]);
  assert.deepEqual(todos.pluck('title'), ['Milk', 'Eggs', 'Bread']);
});

test('a withdrawn or aborted write is not kept', async () => {
  const {todos, client, page} = startWithTodos();
  client.tell('offline');
  todos.create({title: 'Bread'}).destroy();
  todos.get(1).save({done: true}).abort();
  await null;
  assert.deepEqual(items(page), []);
});

test('saves of a model that was not created yet are kept as one create', () => {
  const {todos, client, page} = startWithTodos();
  client.tell('offline');
  todos.create({title: 'Bread'}).save({title: 'Rye bread'});
  assert.deepEqual(items(page).map(({body}) => JSON.parse(body)), [{title: 'Rye bread'}]);
});

test('writes are sent also if the storage is full or forbidden', () => {
  mock.method(console, 'warn', () => {});
  const full = {...fakePage(), localStorage: fakeStorage(1)};
  const forbidden = Object.defineProperty(fakePage(), 'localStorage', {get() { throw new Error('SecurityError'); }});
  for (const [page, warnings] of [[full, 1], [forbidden, 1]]) {
    console.warn.mock.resetCalls();
    const {Todo, client} = start({page});
    client.tell('offline');
    for (const id of [1, 2, 3]) new Todo({id}).save();
    assert.equal(client.asked.length, 3);
    assert.equal(console.warn.mock.callCount(), warnings);
  }
});

test('writes that were kept for another server are left alone', () => {
  const page = fakePage();
  const former = start({page, url: 'http://server.test'});
  former.client.tell('offline');
  new former.Todo({title: 'Milk'}).save();
  assert.deepEqual(start({page}).client.asked, []);
});

test('a storage item that is not a kept write is skipped', () => {
  const page = fakePage();
  const former = start({page});
  former.client.tell('offline');
  new former.Todo({id: 7}).save();
  const [name] = Object.keys(page.localStorage);
  for (const [end, item] of [['a', '{'], ['b', 'null'], ['c', '{}'], ['d', '']]) page.localStorage[name + end] = item;
  assert.deepEqual(start({page}).client.asked, ['PUT /todo/7']);
});

test('a page that is loaded while offline shows the kept writes', async () => {
  const page = fakePage();
  const former = startWithTodos({page});
  former.client.tell('offline');
  former.todos.get(1).save({done: true});
  former.todos.create({title: 'Bread'}).save({title: 'Rye bread'});
  const {Backbone, client, Todo} = start({page});
  client.tell('offline');
  const todos = new (Backbone.Collection.extend({model: Todo, url: '/todo'}))();
  todos.fetch();
  await null;
  assert.deepEqual(todos.pluck('title'), ['Milk', 'Rye bread']);
  assert.equal(todos.get(1).get('done'), true);
  const bread = todos.at(1);
  client.tell('online');
  client.wrote('todo/3', 7, {id: 3, title: 'Rye bread'}, client.requests.find(({method}) => method === 'post'));
  assert.equal(bread.id, 3);
});

test('saves that wait for a pending create are kept with it', async () => {
  const page = fakePage();
  const former = startWithTodos({page});
  former.client.tell('online');
  const created = former.todos.create({title: 'Bread', done: false});
  created.save({done: true});
  former.client.tell('offline');
  former.client.isOnline = true;
  created.save({title: 'Rye bread'});
  const {Todos, client} = start({page});
  client.tell('offline');
  const todos = new Todos();
  todos.fetch();
  await null;
  assert.deepEqual(todos.map(({attributes}) => attributes), [{title: 'Rye bread', done: true}]);
  client.tell('online');
  client.wrote('todo/3', 7, {id: 3, title: 'Bread', done: false}, client.requests[0]);
  client.read('todo', 7, [{id: 3, title: 'Bread', done: false}], client.requests[1]);
  assert.deepEqual([client.asked.at(-1), client.last.body], ['PATCH /todo/3', {title: 'Rye bread', done: true}]);
  client.wrote('todo/3', 8, {id: 3, title: 'Rye bread', done: true});
  assert.deepEqual(todos.map(({attributes}) => attributes), [{id: 3, title: 'Rye bread', done: true}]);
  assert.deepEqual(items(page), []);
});

test('a save that waited for a create and was aborted is not kept', () => {
  for (const isAlone of [true, false]) {
    const {Todo, client, page} = start();
    client.tell('online');
    const bread = new Todo({title: 'Bread'});
    bread.save();
    const aborted = bread.save({done: true});
    if (!isAlone) bread.save({done: false});
    client.tell('offline');
    aborted.abort();
    const expected = isAlone ? undefined : JSON.stringify({title: 'Bread', done: false});
    assert.deepEqual(items(page).map(({next}) => next), [expected]);
  }
});

test('status counts the writes of an earlier page from the start', () => {
  const page = fakePage();
  const former = start({page});
  former.client.tell('offline');
  new former.Todo({id: 7}).save();
  class Counting extends FakeClient {
    request(...asked) {
      this.listener.status('offline', this.requests.length + 1);
      return super.request(...asked);
    }
  }
  const {Backwire} = start({page, makeClient: (...args) => new Counting(...args)});
  assert.deepEqual(Backwire.status, {state: 'offline', unsent: 1});
});

test('a model destroyed while its create is pending is destroyed by the next page', async () => {
  const page = fakePage();
  const former = startWithTodos({page});
  former.client.tell('online');
  const created = former.todos.create({title: 'Bread'});
  former.client.tell('offline');
  former.client.isOnline = true;
  created.destroy();
  await null;
  const {client} = start({page});
  client.tell('online');
  client.wrote('todo/3', 7, {id: 3, title: 'Bread'});
  assert.deepEqual(client.asked, ['POST /todo', 'DELETE /todo/3']);
});

test('kept writes of one identity are not sent for another', () => {
  const page = fakePage();
  const former = start({page, identity: 'ann'});
  former.client.tell('offline');
  new former.Todo({id: 7}).save();
  assert.deepEqual(start({page, identity: 'bob'}).client.asked, []);
  assert.deepEqual(start({page, identity: 'ann'}).client.asked, ['PUT /todo/7']);
});
