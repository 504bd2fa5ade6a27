// Models whose create is pending
// ------------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {start, startWithTodos} from '../fakes/page.js';

test('a second save of a model that is being created waits and becomes an update', async () => {
  const {Todo, client} = start();
  const todo = new Todo({title: 'Milk'});
  todo.save();
  const second = todo.save({title: 'Oat milk'});
  assert.deepEqual(client.asked, ['POST /todo']);
  client.wrote('todo/7', 1, {id: 7, title: 'Milk'});
  assert.deepEqual(client.asked, ['POST /todo', 'PATCH /todo/7']);
  assert.equal(client.last.body.title, 'Oat milk');
  client.wrote('todo/7', 2, {id: 7, title: 'Oat milk'});
  assert.deepEqual(await second, {id: 7, title: 'Oat milk'});
});

test('the reply to a create does not undo what has been saved since', () => {
  const {Todo, client} = start();
  const todo = new Todo({title: 'Milk', done: false});
  todo.save();
  todo.save({done: true});
  const seen = [];
  todo.on('change:done', (_, done) => seen.push(done));
  client.wrote('todo/7', 1, {id: 7, title: 'Milk', done: false, createdAt: 1});
  assert.deepEqual(todo.attributes, {id: 7, title: 'Milk', done: true, createdAt: 1});
  client.wrote('todo/7', 2, {id: 7, title: 'Milk', done: true, createdAt: 1});
  assert.deepEqual(seen, []);
});

test('the reply to an update does not undo a later one', () => {
  const {Todo, client} = start();
  const todo = new Todo({id: 7, title: 'a', by: 'A'});
  todo.save({title: 'b'});
  const first = client.last;
  todo.save({title: 'c'}, {patch: true});
  client.wrote('todo/7', 1, {id: 7, title: 'b', by: 'B'}, first);
  assert.deepEqual(todo.attributes, {id: 7, title: 'c', by: 'B'});
});

test('saves that waited for a refused create are sent as creates', () => {
  const {Todo, client} = start();
  const todo = new Todo({title: ''});
  todo.save();
  todo.save({title: 'Milk'});
  client.answer(422, {message: 'no title'});
  assert.deepEqual(client.asked, ['POST /todo', 'POST /todo']);
  client.wrote('todo/7', 1, {id: 7, title: 'Milk'});
  assert.equal(todo.id, 7);
});

test('a model destroyed before its create is sent is never created', async () => {
  const {todos, client} = startWithTodos();
  client.isOnline = false;
  const errors = [];
  const todo = todos.create({title: 'Bread'}, {error: (_, xhr) => errors.push(xhr.statusText)});
  todo.save({title: 'Rye bread'});
  const complaints = [];
  todos.on('error', () => complaints.push('error'));
  todo.destroy();
  await null;
  assert.deepEqual(client.left, ['GET /todo']);
  assert.deepEqual(errors, ['abort']);
  assert.deepEqual(complaints, []);
  assert.equal(todos.length, 2);
});

test('a model destroyed while its create is pending is deleted after it', () => {
  const {todos, client} = startWithTodos();
  const todo = todos.create({title: 'Bread'});
  todo.destroy();
  client.wrote('todo/3', 6, {id: 3, title: 'Bread'});
  assert.deepEqual(client.asked, ['GET /todo', 'POST /todo', 'DELETE /todo/3']);
  client.wrote('todo/3', 7, {id: 3, title: 'Bread'});
  assert.equal(todos.length, 2);
});

test('an aborted save that waits is not sent', () => {
  const {Todo, client} = start();
  const todo = new Todo({title: 'Milk'});
  todo.save();
  todo.save({title: 'Oat milk'}).abort();
  client.wrote('todo/7', 1, {id: 7, title: 'Milk'});
  assert.deepEqual(client.asked, ['POST /todo']);
});

test('a model that is destroyed after its create was answered sends one delete', () => {
  const {Todo, client} = start();
  const todo = new Todo({title: 'Milk'});
  todo.save();
  client.wrote('todo/7', 1, {id: 7, title: 'Milk'});
  todo.destroy();
  assert.deepEqual(client.asked, ['POST /todo', 'DELETE /todo/7']);
});

test('saves of a model whose create was not sent are one create, which answers them all', async () => {
  const {todos, client} = startWithTodos();
  client.isOnline = false;
  const todo = todos.create({title: 'Bread', done: false});
  const second = todo.save({title: 'Rye bread'});
  const third = todo.save({done: true}, {patch: true});
  assert.deepEqual(client.left, ['GET /todo', 'POST /todo']);
  assert.deepEqual(client.last.body, {title: 'Rye bread', done: true});
  client.wrote('todo/3', 6, {id: 3, title: 'Rye bread', done: true});
  assert.deepEqual(await Promise.all([second, third]), Array(2).fill({id: 3, title: 'Rye bread', done: true}));
  assert.equal(todos.length, 3);
});

test('an abort of a save that was merged into a create leaves the create', () => {
  const {todos, client} = startWithTodos();
  client.isOnline = false;
  const todo = todos.create({title: 'Bread'});
  todo.save({title: 'Rye bread'}).abort();
  assert.deepEqual(client.last.body, {title: 'Bread'});
  client.wrote('todo/3', 6, {id: 3, title: 'Bread'});
  assert.equal(todo.id, 3);
});

test('a save that waits for an aborted create is sent as a create', () => {
  const {Todo, client} = start();
  const todo = new Todo({title: 'Bread'});
  const create = todo.save();
  todo.save({title: 'Rye bread'});
  create.abort();
  assert.deepEqual(client.asked, ['POST /todo', 'POST /todo']);
});

test('uninstall aborts every request, including saves that wait for a create', () => {
  for (const isOnline of [true, false]) {
    const {Backwire, Todo, client} = start();
    client.isOnline = isOnline;
    const todo = new Todo({title: 'Bread'});
    const saves = [todo.save(), todo.save({title: 'Rye bread'}), todo.save({title: 'Toast'})];
    Backwire.uninstall();
    assert.deepEqual(saves.map(xhr => xhr.statusText), ['abort', 'abort', 'abort']);
  }
});

test('a model that is destroyed during its create with wait does not stay in the collection', async () => {
  const {Todos, client} = start();
  const todos = new Todos();
  todos.fetch({data: {where: '{"done":true}'}});
  client.read('todo?{"done":true}', 5, []);
  const create = todos.create({title: 'Milk', done: false}, {wait: true});
  create.destroy();
  await null;
  client.wrote('todo/7', 6, {id: 7, title: 'Milk', done: false}, client.requests[1]);
  assert.deepEqual(client.asked.slice(1), ['POST /todo', 'DELETE /todo/7']);
  client.wrote('todo/7', 7);
  assert.equal(todos.length, 0);
});
