// Waiting saves and concurrent changes of others
// ----------------------------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {start, startWithTodos} from '../fakes/page.js';

test('an update that has to wait is sent as a patch of its changes', () => {
  const {todos, client} = startWithTodos();
  client.tell('offline');
  todos.get(1).save({done: true});
  assert.deepEqual(client.asked, ['GET /todo', 'PATCH /todo/1']);
  assert.deepEqual(client.last.body, {done: true});
});

test('an update that is sent at once is sent as a patch of its changes', () => {
  const {todos, client} = startWithTodos();
  client.tell('online');
  todos.get(1).save({done: true});
  assert.deepEqual(client.last.body, {done: true});
});

test('an attribute that is changed and changed back while the first save is pending is sent both times', () => {
  for (const state of ['offline', 'online']) {
    const {todos, client} = startWithTodos();
    client.tell(state);
    todos.get(1).save({done: true});
    todos.get(1).save({done: false});
    assert.deepEqual(client.requests.slice(1).map(({body}) => body), [{done: true}, {done: false}]);
  }
});

test('attributes of a pending save are sent again with the next save', () => {
  const {todos, client} = startWithTodos();
  client.tell('online');
  todos.get(1).save({title: '', done: true});
  todos.get(1).save({title: 'Oat milk'});
  assert.deepEqual(client.last.body, {title: 'Oat milk', done: true});
});

test('two people who change different attributes both keep their change', () => {
  const {todos, client} = startWithTodos();
  client.tell('offline');
  todos.get(1).save({done: true});
  client.tell('online');
  client.push('todo', [6, 2, 1, {title: 'Oat milk'}, 0]);
  assert.deepEqual(todos.get(1).attributes, {id: 1, title: 'Oat milk', done: true});
  client.wrote('todo/1', 7, {id: 1, title: 'Oat milk', done: true});
  assert.deepEqual(todos.get(1).attributes, {id: 1, title: 'Oat milk', done: true});
});

test('an update of a model that the server never sent is sent whole', () => {
  const {Todo, client} = start();
  client.tell('offline');
  new Todo({id: 9, title: 'Milk'}).save();
  assert.deepEqual(client.asked, ['PUT /todo/9']);
});

test('a save that waits for a create is sent as a patch of the created record', () => {
  const {todos, client} = startWithTodos();
  const todo = todos.create({title: 'Bread', done: false});
  todo.save({done: true});
  todo.save({title: 'Rye bread'});
  client.wrote('todo/3', 6, {id: 3, title: 'Bread', done: false});
  assert.deepEqual(client.asked.slice(2), ['PATCH /todo/3', 'PATCH /todo/3']);
  assert.deepEqual(client.requests.slice(2).map(({body}) => body), [{done: true}, {title: 'Rye bread'}]);
});

test('a save in a callback of an answer is compared with that answer', () => {
  const {todos, client} = startWithTodos();
  const milk = todos.get(1);
  milk.save({title: 'Oat milk'}, {success: () => milk.save({title: 'Milk'})});
  client.wrote('todo/1', 6, {id: 1, title: 'Oat milk', done: false});
  assert.deepEqual(client.last.body, {title: 'Milk'});
  client.wrote('todo/1', 7, {id: 1, title: 'Milk', done: false});
  todos.fetch({success: () => milk.save({title: 'Milk'})});
  client.read('todo', 8, [{id: 1, title: 'Soy milk', done: false}]);
  assert.deepEqual(client.last.body, {title: 'Milk'});
});
