// Live lists with a filter
// ------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {created, destroyed, updated} from '../fakes/client.js';
import {eventsOf, start, startWithTodos} from '../fakes/page.js';

const OPEN = 'todo?{"done":false}';
const left = (offset, id) => [offset, 4, id, null, 0];

// A list of the todos that are not done: Milk, at 5.
function startWithOpen(all = start()) {
  const open = new all.Todos();
  open.fetch({data: {where: '{"done":false}'}});
  all.client.read(OPEN, 5, [{id: 1, title: 'Milk', done: false}]);
  return {...all, open};
}

test('a record that begins to match the filter is added, one that no longer matches is removed', () => {
  const {open, client} = startWithOpen();
  const events = eventsOf(open);
  client.push(OPEN, created(6, {id: 2, title: 'Eggs', done: false}), left(7, 1));
  assert.deepEqual(open.pluck('title'), ['Eggs']);
  assert.deepEqual(events, ['remove', 'update', 'add', 'update']);
});

test('a record that has left the filter is not destroyed', () => {
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

test('a record that changes and still matches is changed', () => {
  const {open, client} = startWithOpen();
  client.push(OPEN, updated(6, 1, {title: 'Oat milk'}));
  assert.equal(open.get(1).get('title'), 'Oat milk');
});

test('a whole list and a filtered list show their own records, in either order of the pushes', () => {
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

test('a destroyed record does not enter a list, not even for an instant', () => {
  const {open, client} = startWithOpen(startWithTodos());
  const events = eventsOf(open);
  const frames = {todo: [created(6, {id: 3, title: 'Bread', done: false}), destroyed(7, 3)]};
  client.push('todo', ...frames.todo);
  client.push(OPEN, ...frames.todo);
  assert.deepEqual(events, []);
  // A new record with the same id is another record.
  client.push(OPEN, created(8, {id: 3, title: 'Rye bread', done: false}));
  assert.deepEqual(open.pluck('title'), ['Milk', 'Rye bread']);
});

test('a filtered list gets no records that do not match', () => {
  const all = startWithTodos();
  const {open, client} = startWithOpen(all);
  client.push('todo', created(6, {id: 3, title: 'Bread', done: true}));
  assert.deepEqual(open.pluck('title'), ['Milk']);
});

test('a stopped list leaves the room of its filter', async () => {
  const {Backwire, open, client} = startWithOpen();
  Backwire.stop(open);
  await null;
  assert.deepEqual(client.calls.filter(call => call.startsWith('unsubscribe')), [`unsubscribe ${OPEN}`]);
});

test('a filter that has lost its position is read again', () => {
  const {open, client} = startWithOpen();
  client.listener.refresh(OPEN);
  assert.equal(client.last.url, '/todo?where=%7B%22done%22%3Afalse%7D');
  client.read(OPEN, 9, [{id: 2, title: 'Eggs', done: false}]);
  assert.deepEqual(open.pluck('title'), ['Eggs']);
});

test('a path that the server reads as a filter is followed like a filter', () => {
  const {Backbone, client} = start();
  const pets = new (Backbone.Collection.extend({url: '/user/1/pets'}))();
  const room = 'pet?{"owner":1}';
  pets.fetch();
  client.read(room, 5, [{id: 1, name: 'Rex', owner: 1}]);
  client.push(room, created(6, {id: 2, name: 'Tom', owner: 1}), updated(7, 2, {name: 'Tim'}), left(8, 1));
  assert.deepEqual(pets.pluck('name'), ['Tim']);
  const kit = pets.create({name: 'Kit'});
  client.wrote('pet/3', 9, {id: 3, name: 'Kit', owner: 1});
  client.push(room, created(9, {id: 3, name: 'Kit', owner: 1}), updated(10, 3, {name: 'Kat'}));
  assert.deepEqual([kit.get('name'), pets.length], ['Kat', 2]);
  client.listener.refresh(room);
  assert.deepEqual(client.asked, ['GET /user/1/pets', 'POST /user/1/pets', 'GET /user/1/pets']);
});

test('an answer that is older than the known records does not show former values', () => {
  const {Todos, todos, client} = startWithTodos();
  const open = new Todos();
  open.fetch({data: {where: '{"done":false}'}});
  client.push('todo', updated(6, 1, {title: 'Oat milk'}));
  client.read(OPEN, 5, [{id: 1, title: 'Milk', done: false}]);
  client.push(OPEN, updated(6, 1, {title: 'Oat milk'}));
  assert.deepEqual([todos, open].map(list => list.get(1).get('title')), ['Oat milk', 'Oat milk']);
});

// Order
// -----

const TOP = 'todo?{"sort":"title","limit":2}';
const titles = list => list.pluck('title');

test('a part of a list is read again in the order of the server', () => {
  const {Todos, client} = start();
  const top = new Todos();
  top.fetch({data: {sort: 'title', limit: 2}});
  client.read(TOP, 5, [{id: 1, title: 'Eggs'}, {id: 2, title: 'Milk'}]);
  const fresh = top.push({title: 'not saved'});
  const events = eventsOf(top);
  client.listener.refresh(TOP);
  client.read(TOP, 6, [{id: 3, title: 'Bread'}, {id: 1, title: 'Eggs'}]);
  assert.deepEqual(titles(top), ['Bread', 'Eggs', 'not saved']);
  assert.equal(top.last(), fresh);
  assert.deepEqual(events, ['remove', 'update', 'add', 'update', 'sort']);
  events.length = 0;
  client.listener.refresh(TOP);
  client.read(TOP, 7, [{id: 3, title: 'Bread'}, {id: 1, title: 'Eggs'}]);
  assert.deepEqual(events, []);
});

test('pages of a list stay one after the other', () => {
  const {Todos, client} = start();
  const all = new Todos();
  [0, 1].forEach(page => {
    all.fetch({remove: false, data: {sort: 'title', limit: 1, skip: page}});
    client.read(`${TOP}${page}`, 5, [{id: page, title: 'BD'[page]}]);
  });
  [0, 1].forEach(page => client.listener.refresh(`${TOP}${page}`));
  const [first, second] = client.requests.slice(-2);
  client.read(`${TOP}0`, 6, [{id: 2, title: 'A'}], first);
  client.read(`${TOP}1`, 6, [{id: 0, title: 'B'}], second);
  assert.deepEqual(titles(all), ['A', 'B']);
});

// A list that the server has sorted, at 5: Eggs and Milk.
function startWithSorted(Kind, data = {sort: 'title'}) {
  const all = start();
  const sorted = new (all.Todos.extend(Kind))();
  sorted.fetch({data});
  const records = [{id: 1, title: 'Eggs', done: false}, {id: 2, title: 'Milk', done: false}];
  all.client.read('todo', 5, records);
  return {...all, sorted, records};
}

test('a list that the server sorts is read again when a record may have moved', () => {
  const {client, sorted, records: [eggs, milk]} = startWithSorted();
  const events = eventsOf(sorted);
  client.push('todo', created(6, {id: 3, title: 'Bread'}));
  client.read('todo', 6, [{id: 3, title: 'Bread'}, eggs, milk]);
  assert.deepEqual(titles(sorted), ['Bread', 'Eggs', 'Milk']);
  assert.deepEqual(events, ['add', 'update', 'sort']);
  client.push('todo', updated(7, 1, {title: 'Yolk'}));
  client.read('todo', 7, [{id: 3, title: 'Bread'}, milk, {...eggs, title: 'Yolk'}]);
  assert.deepEqual(titles(sorted), ['Bread', 'Milk', 'Yolk']);
  sorted.first().save({title: 'Toast'});
  client.wrote('todo/3', 8, {id: 3, title: 'Toast'});
  client.read('todo', 8, [milk, {id: 3, title: 'Toast'}, {...eggs, title: 'Yolk'}]);
  assert.deepEqual(titles(sorted), ['Milk', 'Toast', 'Yolk']);
  assert.equal(client.asked.length, 5);
});

test('a list is read once more, however many records move while it is being read', () => {
  const {client, sorted, records} = startWithSorted();
  const bread = {id: 3, title: 'Bread', done: false};
  client.push('todo', created(6, bread), updated(7, 1, {title: 'Yolk'}));
  const first = client.last;
  client.push('todo', updated(8, 1, {title: 'Apple'}));
  client.push('todo', updated(9, 2, {title: 'Whey'}));
  assert.equal(client.asked.length, 2);
  client.read('todo', 7, [bread, records[1], {...records[0], title: 'Yolk'}], first);
  assert.equal(client.asked.length, 3);
  client.read('todo', 9, [{...records[0], title: 'Apple'}, bread, {...records[1], title: 'Whey'}]);
  assert.deepEqual(titles(sorted), ['Apple', 'Bread', 'Whey']);
  assert.equal(client.asked.length, 3);
});

test('a list in which records move during a fetch of the page is read after it, also if the fetch is aborted', () => {
  const {client, sorted, records} = startWithSorted();
  const xhr = sorted.fetch({data: {sort: 'title'}});
  client.push('todo', created(6, {id: 3, title: 'Bread'}));
  assert.equal(client.asked.length, 2);
  xhr.abort();
  assert.equal(client.asked.length, 3);
  client.read('todo', 6, [{id: 3, title: 'Bread'}, ...records]);
  assert.deepEqual(titles(sorted), ['Bread', 'Eggs', 'Milk']);
});

test('a list that was stopped while it is being read is not read again', () => {
  const {Backwire, client, sorted, records} = startWithSorted();
  client.push('todo', created(6, {id: 3, title: 'Bread'}));
  client.push('todo', updated(7, 3, {title: 'Toast'}));
  Backwire.stop(sorted);
  client.read('todo', 7, [...records, {id: 3, title: 'Toast'}]);
  assert.equal(client.asked.length, 2);
});

test('a list that the server sorts is not read again for a change that moves no record', () => {
  const {client, sorted} = startWithSorted();
  client.push('todo', updated(6, 1, {done: true}), destroyed(7, 2));
  assert.deepEqual(titles(sorted), ['Eggs']);
  assert.deepEqual(client.asked, ['GET /todo?sort=title']);
});

test('a list with a comparator sorts itself', () => {
  const {client, sorted} = startWithSorted({comparator: 'title'});
  client.push('todo', created(6, {id: 3, title: 'Bread'}));
  assert.deepEqual(titles(sorted), ['Bread', 'Eggs', 'Milk']);
  assert.equal(client.asked.length, 1);
});
