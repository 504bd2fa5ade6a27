// What the page has let go of
// ---------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {created, updated} from '../fakes/client.js';
import {collectGarbage} from '../fakes/garbage.js';
import {start} from '../fakes/page.js';

const milk = {id: 1, title: 'Milk', done: false};
const eggs = {id: 2, title: 'Eggs', done: false};

// Follows all todos with what only this call holds.
function follow({Todos, client}, before = () => {}) {
  const todos = new Todos();
  before(todos);
  todos.fetch();
  client.read('todo', 5, [milk, eggs]);
  return new WeakRef(todos);
}

const left = client => client.calls.filter(call => call.startsWith('unsubscribe'));

test('a collection that nobody holds is let go, and its room is left', async () => {
  const all = start();
  const todos = follow(all);
  await collectGarbage();
  assert.equal(todos.deref(), undefined);
  assert.deepEqual(left(all.client), ['unsubscribe todo']);
  all.client.push('todo', created(6, {id: 3}));
  all.client.listener.refresh('todo');
  assert.deepEqual(all.client.asked, ['GET /todo']);
});

test('a collection that is held is not let go, however long nothing happens', async () => {
  const all = start();
  const todos = follow(all).deref();
  await collectGarbage();
  all.client.push('todo', created(6, {id: 3, title: 'Bread'}));
  assert.deepEqual([todos.length, left(all.client)], [3, []]);
});

test('a collection is held by a model of it that a view shows', async () => {
  const all = start();
  const shown = follow(all).deref().get(1);
  await collectGarbage();
  all.client.push('todo', updated(6, 1, {title: 'Oat milk'}));
  assert.equal(shown.get('title'), 'Oat milk');
});

test('a collection that only listeners know goes on telling them, until they stop listening', async () => {
  const all = start();
  const heard = [];
  const hear = model => heard.push(model.id);
  const todos = follow(all, fresh => fresh.on('add', hear));
  await collectGarbage();
  all.client.push('todo', created(6, {id: 3}));
  assert.deepEqual([heard, left(all.client)], [[1, 2, 3], []]);
  todos.deref().off('add', hear);
  await collectGarbage();
  assert.deepEqual([todos.deref(), left(all.client)], [undefined, ['unsubscribe todo']]);
});

test('listeners that came after everyone was sent away are told', async () => {
  const all = start();
  const heard = [];
  const listen = todos => {
    todos.off();
    todos.on('add', model => heard.push(model.id));
  };
  listen(follow(all).deref());
  all.client.push('todo', created(6, {id: 3}));
  await collectGarbage();
  all.client.push('todo', created(7, {id: 4}));
  assert.deepEqual(heard, [3, 4]);
});

test('a room stays as long as anyone in it is held', async () => {
  const all = start();
  const held = follow(all).deref();
  const gone = follow(all);
  await collectGarbage();
  assert.equal(gone.deref(), undefined);
  all.client.push('todo', created(6, {id: 3}));
  assert.deepEqual([held.length, left(all.client)], [3, []]);
});

test('a model that nobody holds is let go, and one that is saved is not before it is answered', async () => {
  const {Todo, client} = start();
  const read = () => {
    const todo = new Todo({id: 1});
    todo.fetch();
    client.read('todo/1', 5, milk);
    return new WeakRef(todo);
  };
  const todo = read();
  todo.deref().save({done: true});
  await collectGarbage();
  assert.deepEqual([todo.deref()?.get('done'), left(client)], [true, []]);
  client.wrote('todo/1', 6, {...milk, done: true});
  await collectGarbage();
  assert.deepEqual([todo.deref(), left(client)], [undefined, ['unsubscribe todo/1']]);
});

test('what is let go after uninstall or a stop is nobody\'s business', async () => {
  const all = start();
  all.Backwire.stop(follow(all).deref());
  follow(all);
  all.Backwire.uninstall();
  await collectGarbage();
  assert.deepEqual(all.client.calls, ['connect', 'unsubscribe todo', 'disconnect', 'free']);
});
