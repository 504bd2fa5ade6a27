// Writes without an answer
// ------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {fakePage, start, startWithTodos} from '../fakes/page.js';

const later = () => new Promise(resolve => setTimeout(resolve));

// The events of a target and of Backwire about writes, from now on.
function eventsOf(target, Backwire) {
  const events = [];
  target.on('all', (name, model, write, status) => {
    if (/^backwire:/.test(name)) events.push([name, model.get('title'), write.method, status].filter(it => it !== undefined));
  });
  for (const name of ['queued', 'saved']) Backwire.on(name, ({write}) => events.push([name, write.method]));
  return events;
}

test('a write that waits and is saved is reported on its model, its collection and Backwire', async () => {
  const {Backwire, client, todos} = startWithTodos();
  client.tell('offline');
  const events = eventsOf(todos, Backwire);
  todos.get(1).save({title: 'Oat milk'});
  assert.deepEqual(events, [], 'nothing while `save` runs');
  await later();
  assert.deepEqual(events, [['backwire:queued', 'Oat milk', 'patch'], ['queued', 'patch']]);
  client.tell('online');
  client.wrote('todo/1', 6, {id: 1, title: 'Oat milk', done: false});
  assert.deepEqual(events.slice(2), [['backwire:saved', 'Oat milk', 'patch', 200], ['saved', 'patch']]);
});

test('a write that waits and is refused is reported with its status', async () => {
  const {Backwire, client, todos} = startWithTodos();
  client.tell('offline');
  const events = eventsOf(todos, Backwire);
  todos.get(1).save({title: ''}, {error() {}});
  await later();
  client.answer(400, {code: 'E_INVALID'}, {}, {...client.last, waited: true});
  assert.deepEqual(events.map(([name, , , status]) => [name, status]), [['backwire:queued', undefined], ['queued', undefined], ['backwire:rejected', 400]]);
});

test('a write that is answered at once is not reported', async () => {
  const {Backwire, client, todos} = startWithTodos();
  client.tell('online');
  const events = eventsOf(todos, Backwire);
  todos.get(1).save({title: 'Oat milk'});
  client.wrote('todo/1', 6, {id: 1, title: 'Oat milk', done: false});
  await later();
  assert.deepEqual(events, []);
});

test('a write whose connection breaks is reported once, however often that happens', async () => {
  const {Backwire, client, todos} = startWithTodos();
  client.tell('online');
  const events = eventsOf(todos, Backwire);
  todos.get(1).save({title: 'Oat milk'});
  for (const state of ['connecting', 'offline', 'connecting']) client.tell(state, 1);
  await later();
  client.tell('offline', 1);
  await later();
  assert.deepEqual(events.map(([name]) => name), ['backwire:queued', 'queued']);
});

test('a write that an earlier page has kept is reported when it is saved', () => {
  const page = fakePage();
  const former = start({page});
  former.client.tell('offline');
  new former.Todo({id: 1, title: 'Milk'}).save();
  const {Backwire, client} = start({page});
  const saved = [];
  Backwire.on('saved', ({write}) => saved.push(`${write.method} ${write.url}`));
  client.wrote('todo/1', 6, {id: 1, title: 'Milk'});
  assert.deepEqual(saved, ['put /todo/1']);
});

test('models and collections are pending as long as a write has no answer', () => {
  const {Backwire, Todos, client, todos} = startWithTodos();
  const [milk, eggs] = todos.models;
  assert.deepEqual([milk, todos].map(Backwire.isPending), [false, false]);
  milk.save({title: 'Oat milk'});
  eggs.fetch();
  assert.deepEqual([milk, eggs, todos, new Todos()].map(Backwire.isPending), [true, false, true, false]);
  client.wrote('todo/1', 6, {id: 1, title: 'Oat milk', done: false}, client.requests.at(-2));
  assert.deepEqual([milk, todos].map(Backwire.isPending), [false, false]);
});

test('pending lists the writes in order, with the saves that wait for a create', () => {
  const {Backwire, client, todos} = startWithTodos();
  client.tell('online');
  const bread = todos.create({title: 'Bread'});
  bread.save({title: 'Rye bread'});
  todos.get(1).destroy();
  assert.deepEqual(Backwire.pending().map(({method, url, model}) => [method, url, model.get('title')]), [
    ['post', '/todo', 'Rye bread'], ['post', '/todo', 'Rye bread'], ['delete', '/todo/1', 'Milk']]);
});

test('clear drops all writes, ends their calls and forgets the kept ones', async () => {
  const page = fakePage();
  const {Backwire, client, todos} = startWithTodos({page});
  client.tell('online');
  const errors = [];
  const options = {error: (model, xhr) => errors.push(`${model.get('title')} ${xhr.statusText}`)};
  const bread = todos.create({title: 'Bread'}, options);
  bread.save({title: 'Rye bread'}, options);
  todos.get(1).save({title: 'Oat milk'}, options);
  client.tell('offline', 3);
  Backwire.clear();
  assert.deepEqual([Backwire.pending(), Object.keys(page.localStorage)], [[], []]);
  assert.equal(errors.length, 3);
  // The only request after the read and the two writes would be the save that waited.
  assert.deepEqual(client.left, ['GET /todo']);
  await later();
  assert.equal(Backwire.isPending(todos), false);
});

test('nothing is pending without an installation', () => {
  const {Backwire, Todo} = start();
  Backwire.uninstall();
  assert.deepEqual([Backwire.pending(), Backwire.isPending(new Todo()), Backwire.clear()], [[], false, Backwire]);
});
