// Writes that had waited, and are refused
// ---------------------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {destroyed, updated} from '../fakes/client.js';
import {startWithTodos} from '../fakes/page.js';

// What the page shows: a copy of every model, in the order of the list.
const shown = todos => todos.map(todo => ({...todo.attributes}));

// Two todos, a line that is down, and what is asked meanwhile.
function offline() {
  const started = startWithTodos();
  const before = shown(started.todos);
  started.client.tell('offline');
  return {...started, before};
}

test('an update is taken back, and error is called first', () => {
  const {todos, client, before} = offline();
  const seen = [];
  todos.get(1).save({title: '', note: 'new'}, {error: model => seen.push(model.get('title'))});
  client.tell('online');
  client.answer(422, {message: 'title: required'});
  assert.deepEqual(seen, ['']);
  assert.deepEqual(todos.get(1).get('note'), undefined);
  assert.equal(todos.get(1).get('title'), before[0].title);
});

test('what others changed meanwhile stays', () => {
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

test('a destroyed model is back', () => {
  const {todos, client, before} = offline();
  todos.get(1).destroy();
  assert.equal(todos.length, 1);
  client.tell('online');
  client.answer(403, {message: 'not yours'});
  assert.deepEqual(shown(todos).find(({id}) => id === 1), before[0]);
  client.push('todo', updated(6, 1, {title: 'Oat milk'}));
  assert.equal(todos.get(1).get('title'), 'Oat milk');
});

test('a model that others have destroyed as well is not back', () => {
  const {todos, client} = offline();
  todos.get(1).destroy();
  client.tell('online');
  client.answer(404, {});
  client.push('todo', destroyed(6, 1));
  assert.deepEqual(todos.pluck('id'), [2]);
});

test('a new model is gone, unless what waits for it tries again', () => {
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

test('a refusal of what was sent at once leaves the page alone', () => {
  const {todos, client} = startWithTodos();
  client.tell('online');
  todos.get(1).save({title: ''});
  client.answer(422, {});
  assert.equal(todos.get(1).get('title'), '');
  todos.get(2).destroy();
  client.answer(403, {});
  assert.deepEqual(todos.pluck('id'), [1]);
});

test('an answer of long ago does not bring back what was true then', () => {
  const {todos, client} = startWithTodos();
  client.tell('online');
  todos.get(1).save({title: 'Oat milk'});
  client.push('todo', updated(9, 1, {title: 'Soy milk'}));
  client.wrote('todo/1', 7, {id: 1, title: 'Oat milk', done: false});
  assert.equal(todos.get(1).get('title'), 'Soy milk');
});
