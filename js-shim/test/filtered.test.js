// Lists that follow a filter
// --------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {created, destroyed, updated} from '../fakes/client.js';
import {eventsOf, start, startWithTodos} from '../fakes/page.js';

const OPEN = 'todo?{"done":false}';
const left = (offset, id) => [offset, 4, id, null, 0];

// A list of what is not done: Milk, at 5.
function startWithOpen(all = start()) {
  const open = new all.Todos();
  open.fetch({data: {where: '{"done":false}'}});
  all.client.read(OPEN, 5, [{id: 1, title: 'Milk', done: false}]);
  return {...all, open};
}

test('a record that begins to fulfil the filter is added, one that no longer does is removed', () => {
  const {open, client} = startWithOpen();
  const events = eventsOf(open);
  client.push(OPEN, created(6, {id: 2, title: 'Eggs', done: false}), left(7, 1));
  assert.deepEqual(open.pluck('title'), ['Eggs']);
  assert.deepEqual(events, ['add', 'update', 'remove', 'update']);
});

test('a record that has left is not destroyed', () => {
  const {open, client} = startWithOpen();
  const milk = open.get(1);
  const events = eventsOf(milk);
  client.push(OPEN, left(6, 1));
  assert.deepEqual(events, ['remove']);
  client.push(OPEN, created(7, {id: 1, title: 'Milk', done: false}), destroyed(8, 1));
  assert.equal(open.length, 0);
});

test('a filter may be an object as well', () => {
  const {Todos, client} = start();
  new Todos().fetch({data: {where: {done: false}, limit: 3}});
  assert.equal(client.last.url, '/todo?where=%7B%22done%22%3Afalse%7D&limit=3');
});

test('what changes and goes on fulfilling it is changed', () => {
  const {open, client} = startWithOpen();
  client.push(OPEN, updated(6, 1, {title: 'Oat milk'}));
  assert.equal(open.get(1).get('title'), 'Oat milk');
});

test('a list of everything and one with a filter each have what is theirs, in either order of the news', () => {
  for (const order of [['todo', OPEN], [OPEN, 'todo']]) {
    const all = startWithTodos();
    const {todos, open, client} = startWithOpen(all);
    const news = {
      todo: [updated(6, 1, {done: true}), created(7, {id: 3, title: 'Bread', done: true}), updated(8, 3, {done: false}), updated(9, 3, {title: 'Rye bread'})],
      [OPEN]: [left(6, 1), created(8, {id: 3, title: 'Bread', done: false}), updated(9, 3, {title: 'Rye bread'})]
    };
    for (const room of order) client.push(room, ...news[room]);
    assert.deepEqual(todos.pluck('title'), ['Milk', 'Eggs', 'Rye bread']);
    assert.deepEqual(open.pluck('title'), ['Rye bread']);
    assert.equal(todos.get(1).get('done'), true);
  }
});

test('what is destroyed by now does not enter a list, not for an instant', () => {
  const {open, client} = startWithOpen(startWithTodos());
  const events = eventsOf(open);
  const frames = {todo: [created(6, {id: 3, title: 'Bread', done: false}), destroyed(7, 3)]};
  client.push('todo', ...frames.todo);
  client.push(OPEN, ...frames.todo);
  assert.deepEqual(events, []);
  // Another of the same id is another.
  client.push(OPEN, created(8, {id: 3, title: 'Rye bread', done: false}));
  assert.deepEqual(open.pluck('title'), ['Milk', 'Rye bread']);
});

test('a list with a filter gets nothing of what it did not ask for', () => {
  const all = startWithTodos();
  const {open, client} = startWithOpen(all);
  client.push('todo', created(6, {id: 3, title: 'Bread', done: true}));
  assert.deepEqual(open.pluck('title'), ['Milk']);
});

test('a list that stops leaves the room of its filter', async () => {
  const {Backwire, open, client} = startWithOpen();
  Backwire.stop(open);
  await null;
  assert.deepEqual(client.calls.filter(call => call.startsWith('unsubscribe')), [`unsubscribe ${OPEN}`]);
});

test('a filter that has lost its place is read again', () => {
  const {open, client} = startWithOpen();
  client.listener.refresh(OPEN);
  assert.equal(client.last.url, '/todo?where=%7B%22done%22%3Afalse%7D');
  client.read(OPEN, 9, [{id: 2, title: 'Eggs', done: false}]);
  assert.deepEqual(open.pluck('title'), ['Eggs']);
});
