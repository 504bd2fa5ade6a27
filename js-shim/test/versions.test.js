// Old versions of Backbone
// ------------------------
//
// `tests/pages/versions.js` has all versions in a browser. These tests show what no page can.

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {created, destroyed, updated} from '../fakes/client.js';
import {collectGarbage, eggs, follow, left, milk} from '../fakes/garbage.js';
import {oldBackbone, start} from '../fakes/page.js';
import {ajax} from '../src/ajax.js';

const UNDERSCORES = {'0.5.3': 'underscore-1.1', '0.9.2': 'underscore-1.3', '0.9.9': 'underscore-1.4', '0.9.10': 'underscore-1.4'};

const startOld = version => start({Backbone: oldBackbone(version, UNDERSCORES[version], {ajax})});

for (const version in UNDERSCORES) {
  test(`a collection of Backbone ${version} that is not held is collected, and its room is left`, async () => {
    const all = startOld(version);
    const todos = follow(all);
    await collectGarbage();
    assert.equal(todos.deref(), undefined);
    assert.deepEqual(left(all.client), ['unsubscribe todo']);
  });

  test(`a collection of Backbone ${version} with listeners fires events until they are removed`, async () => {
    const all = startOld(version);
    const received = [];
    const listener = model => received.push(model.id);
    const todos = follow(all, fresh => fresh.bind('add', listener));
    await collectGarbage();
    all.client.push('todo', created(6, {id: 3}));
    assert.deepEqual([received, left(all.client)], [[3], []]);
    todos.deref().unbind('add', listener);
    all.client.push('todo', created(7, {id: 4}));
    await collectGarbage();
    assert.deepEqual([todos.deref(), left(all.client)], [undefined, ['unsubscribe todo']]);
  });

  test(`a collection of Backbone ${version} fires update and a new order once for a push`, () => {
    const all = startOld(version);
    const {client} = all;
    const events = [];
    const todos = follow(all, fresh => { fresh.comparator = todo => todo.get('title'); }).deref();
    todos.bind('all', name => { if (/^(update|sort|reset)$/.test(name)) events.push(name); });
    client.push('todo', updated(6, 1, {title: 'Apple'}));
    assert.deepEqual([todos.pluck('title'), events], [['Apple', 'Eggs'], [/^0.5|9.2/.test(version) ? 'reset' : 'sort', 'update']]);
    client.push('todo', updated(7, 1, {done: true}));
    assert.deepEqual(events.slice(2), ['update']);
  });

  test(`the records of a former query of Backbone ${version} stay live while another collection holds its models`, () => {
    const all = startOld(version);
    const {Todos, client} = all;
    const page = new Todos();
    page.fetch({data: {limit: 1}});
    client.read('todo', 5, [milk]);
    const loaded = new Todos();
    loaded.add(page.models[0]);
    page.fetch({data: {skip: 1}});
    client.read('todo', 5, [eggs]);
    assert.deepEqual(client.asked, ['GET /todo?limit=1', 'GET /todo?skip=1', 'GET /todo?limit=1']);
  });

  test(`the id of a create without Backwire removes its duplicate in Backbone ${version}`, () => {
    const all = startOld(version);
    const {Todo, client} = all;
    const todos = follow(all).deref();
    const own = new Todo({title: 'Bread'});
    todos.add(own);
    client.push('todo', created(6, {id: 3, title: 'Bread'}));
    assert.equal(todos.length, 4);
    const changed = [];
    own.bind('change:id', () => changed.push(own.id));
    own.set({id: 3});
    assert.deepEqual([todos.models.map(({id}) => id), todos.get(3) === own, changed], [[1, 2, 3], true, [3]]);
    own.set({id: 4});
    assert.deepEqual(changed, [3, 4]);
  });
}

// Ids that a collection does not learn
// ------------------------------------

const LATER = {...UNDERSCORES, '1.0.0': 'underscore-1.4', '1.1.2': 'underscore-1.6', '1.6.1': null};
const startAny = version => (LATER[version] ? start({Backbone: oldBackbone(version, LATER[version], {ajax})}) : start({$: {ajax}}));

// A page with a live collection of two records and a model that is not stored. `idsOf` are those
// that the collection shows.
function withNewModel(version, extension = {}) {
  const all = startAny(version);
  const {client} = all;
  const Todo = all.Todo.extend(extension);
  const todos = follow({...all, Todos: all.Todos.extend({model: Todo})}).deref();
  const own = new Todo({title: 'Bread'});
  todos.add(own);
  return {...all, client, todos, own, ids: () => todos.models.map(({id}) => id)};
}

for (const version in LATER) {
  test(`a silent create shows its record once, and follows it, in Backbone ${version}`, () => {
    const {client, todos, own, ids} = withNewModel(version);
    own.save({title: 'Rolls'}, {silent: true});
    client.wrote('todo/3', 6, {id: 3, title: 'Rolls'});
    assert.deepEqual([ids(), todos.length], [[1, 2, 3], 3]);
    client.push('todo', updated(7, 3, {title: 'Buns'}));
    assert.deepEqual([own.get('title'), ids()], ['Buns', [1, 2, 3]]);
    client.push('todo', destroyed(8, 3));
    assert.deepEqual([ids(), todos.length], [[1, 2], 2]);
  });

  test(`a model whose parse renames the id shows its record once after a silent create in Backbone ${version}`, () => {
    const {client, own, ids} = withNewModel(version, {idAttribute: '_id', parse: ({id, ...rest} = {}) => ({_id: id, ...rest})});
    own.save({title: 'Rolls'}, {silent: true});
    client.wrote('todo/3', 6, {id: 3, title: 'Rolls'});
    assert.equal(ids().length, 3);
    client.push('todo', destroyed(8, 3));
    assert.equal(ids().length, 2);
  });

  test(`a push of a record whose id a model got silently adds no other model in Backbone ${version}`, () => {
    const {client, own, todos, ids} = withNewModel(version);
    own.set({id: 3}, {silent: true});
    client.push('todo', created(6, {id: 3, title: 'Bread'}));
    assert.deepEqual([ids(), todos.models.includes(own)], [[1, 2, 3], true]);
  });

  test(`a model that gets its id silently replaces its duplicate at its next event in Backbone ${version}`, () => {
    const {client, own, todos, ids} = withNewModel(version);
    client.push('todo', created(6, {id: 3, title: 'Bread'}));
    own.set({id: 3}, {silent: true});
    own.set({title: 'Rolls'});
    assert.deepEqual([ids(), todos.models.includes(own), todos.get(3) === own], [[1, 2, 3], true, true]);
  });

  test(`a read that brings the record of a pending create leaves its model in Backbone ${version}`, () => {
    const {Todos, client, own, todos, ids} = withNewModel(version);
    own.save();
    const create = client.last;
    new Todos().fetch();
    client.read('todo', 6, [milk, eggs, {id: 3, title: 'Bread'}]);
    client.wrote('todo/3', 6, {id: 3, title: 'Bread'}, create);
    assert.deepEqual([ids(), todos.models.includes(own), todos.get(3) === own], [[1, 2, 3], true, true]);
  });
}
