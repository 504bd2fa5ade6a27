// Garbage collection of live targets
// ----------------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {created, updated} from '../fakes/client.js';
import {collectGarbage, follow, left, milk} from '../fakes/garbage.js';
import {start} from '../fakes/page.js';

test('a collection that is not held is collected, and its room is left', async () => {
  const all = start();
  const todos = follow(all);
  await collectGarbage();
  assert.equal(todos.deref(), undefined);
  assert.deepEqual(left(all.client), ['unsubscribe todo']);
  all.client.push('todo', created(6, {id: 3}));
  all.client.listener.refresh('todo');
  assert.deepEqual(all.client.asked, ['GET /todo']);
});

test('a collection that is held is not collected, however long nothing happens', async () => {
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

test('a collection with listeners keeps firing events until the listeners are removed', async () => {
  const all = start();
  const received = [];
  const listener = model => received.push(model.id);
  const todos = follow(all, fresh => fresh.on('add', listener));
  await collectGarbage();
  all.client.push('todo', created(6, {id: 3}));
  assert.deepEqual([received, left(all.client)], [[1, 2, 3], []]);
  todos.deref().off('add', listener);
  await collectGarbage();
  assert.deepEqual([todos.deref(), left(all.client)], [undefined, ['unsubscribe todo']]);
});

test('listeners that were added after off() get events', async () => {
  const all = start();
  const received = [];
  const listen = todos => {
    todos.off();
    todos.on('add', model => received.push(model.id));
  };
  listen(follow(all).deref());
  all.client.push('todo', created(6, {id: 3}));
  await collectGarbage();
  all.client.push('todo', created(7, {id: 4}));
  assert.deepEqual(received, [3, 4]);
});

test('a room stays as long as one of its targets is held', async () => {
  const all = start();
  const held = follow(all).deref();
  const gone = follow(all);
  await collectGarbage();
  assert.equal(gone.deref(), undefined);
  all.client.push('todo', created(6, {id: 3}));
  assert.deepEqual([held.length, left(all.client)], [3, []]);
});

test('a model that is not held is collected, and one with a pending save only after the answer', async () => {
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

test('a target that is collected after uninstall or stop causes no calls', async () => {
  const all = start();
  all.Backwire.stop(follow(all).deref());
  follow(all);
  all.Backwire.uninstall();
  await collectGarbage();
  assert.deepEqual(all.client.calls, ['connect', 'unsubscribe todo', 'disconnect', 'free']);
});
