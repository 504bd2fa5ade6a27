// Refused writes that had waited
// ------------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {destroyed, updated} from '../fakes/client.js';
import {startWithTodos} from '../fakes/page.js';

// The contents of the page: a copy of every model, in the order of the list.
const shown = todos => todos.map(todo => ({...todo.attributes}));

// Two todos, a broken connection, and a request made meanwhile.
function offline() {
  const started = startWithTodos();
  const before = shown(started.todos);
  started.client.tell('offline');
  return {...started, before};
}

test('a refused update is rolled back, and error is called first', () => {
  const {todos, client, before} = offline();
  const seen = [];
  todos.get(1).save({title: '', note: 'new'}, {error: model => seen.push(model.get('title'))});
  client.tell('online');
  client.answer(422, {message: 'title: required'});
  assert.deepEqual(seen, ['']);
  assert.deepEqual(todos.get(1).get('note'), undefined);
  assert.equal(todos.get(1).get('title'), before[0].title);
});

test('changes that others made meanwhile stay', () => {
  const {todos, client} = offline();
  todos.get(1).save({title: ''});
  client.tell('online');
  client.push('todo', updated(6, 1, {title: 'Oat milk', done: true}));
  client.answer(422, {});
  assert.equal(todos.get(1).get('title'), 'Oat milk');
  assert.equal(todos.get(1).get('done'), true);
});

test('a later save of the same attribute stays, and so does one of another', () => {
  const {todos, client} = offline();
  todos.get(1).save({title: '', done: true});
  todos.get(1).save({title: 'Oat milk'});
  client.tell('online');
  client.answer(422, {}, {}, client.requests[1]);
  assert.equal(todos.get(1).get('title'), 'Oat milk');
  client.wrote('todo/1', 6, {id: 1, title: 'Oat milk', done: false}, client.requests[2]);
  assert.deepEqual(todos.get(1).attributes, {id: 1, title: 'Oat milk', done: false});
});

test('a model whose destroy was refused is added again', () => {
  const {todos, client, before} = offline();
  todos.get(1).destroy();
  assert.equal(todos.length, 1);
  client.tell('online');
  client.answer(403, {message: 'not yours'});
  assert.deepEqual(shown(todos).find(({id}) => id === 1), before[0]);
  client.push('todo', updated(6, 1, {title: 'Oat milk'}));
  assert.equal(todos.get(1).get('title'), 'Oat milk');
});

test('a model that others have destroyed as well is not added again', () => {
  const {todos, client} = offline();
  todos.get(1).destroy();
  client.tell('online');
  client.answer(404, {});
  client.push('todo', destroyed(6, 1));
  assert.deepEqual(todos.pluck('id'), [2]);
});

test('a model whose create was refused is removed, unless a waiting save creates it again', () => {
  const {todos, client} = offline();
  todos.create({title: ''});
  client.tell('online');
  client.answer(422, {});
  assert.equal(todos.length, 2);
  client.tell('offline');
  const todo = todos.create({title: ''});
  client.tell('online');
  todo.save({title: 'Bread'});
  client.answer(422, {}, {}, client.requests[2]);
  assert.deepEqual(client.asked.slice(3), ['POST /todo']);
  client.wrote('todo/3', 6, {id: 3, title: 'Bread'});
  assert.deepEqual(todos.pluck('title').at(-1), 'Bread');
});

test('a refused write that was sent at once is not rolled back', () => {
  const {todos, client} = startWithTodos();
  client.tell('online');
  todos.get(1).save({title: ''});
  client.answer(422, {});
  assert.equal(todos.get(1).get('title'), '');
  todos.get(2).destroy();
  client.answer(403, {});
  assert.deepEqual(todos.pluck('id'), [1]);
});

test('a stored answer of a repeated write does not restore former values', () => {
  const {todos, client} = startWithTodos();
  client.tell('online');
  todos.get(1).save({title: 'Oat milk'});
  client.push('todo', updated(9, 1, {title: 'Soy milk'}));
  client.wrote('todo/1', 7, {id: 1, title: 'Oat milk', done: false});
  assert.equal(todos.get(1).get('title'), 'Soy milk');
});
