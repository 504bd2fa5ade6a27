// Refresh and stop
// ----------------

import assert from 'node:assert/strict';
import {mock, test} from 'node:test';

import {created, destroyed, updated} from '../fakes/client.js';
import {eventsOf, start, startWithTodos} from '../fakes/page.js';

const milk = {id: 1, title: 'Milk', done: false};
const eggs = {id: 2, title: 'Eggs', done: false};

// Refresh
// -------

test('a refresh adds, changes and removes models that differ, and never resets', () => {
  const {Todos, client} = start();
  const todos = new Todos();
  todos.fetch({reset: true, success: () => {}});
  client.read('todo', 5, [milk, eggs, {id: 3, title: 'Bread'}]);
  const kept = todos.get(1);
  const events = [];
  todos.on('all', (name, model) => events.push([name, model.id]));
  client.listener.refresh('todo');
  client.read('todo', 9, [milk, {...eggs, done: true}, {id: 4, title: 'Jam'}]);
  assert.deepEqual(events, [
    ['change:done', 2], ['change', 2], ['remove', 3], ['update', undefined], ['destroy', 3],
    ['update', undefined], ['add', 4], ['update', undefined]]);
  assert.equal(todos.get(1), kept);
  assert.deepEqual(client.asked, ['GET /todo', 'GET /todo']);
});

test('a refresh repeats the request and calls no function of the page', () => {
  const {Todos, client} = start();
  let calls = 0;
  const todos = new (Todos.extend({url() { return `/todo?list=${this.list}`; }}))();
  todos.list = 'a';
  todos.fetch({headers: {'X-Tenant': 'mine'}, silent: true, success: () => calls++, complete: () => calls++});
  client.read('todo?["a"]', 5, [milk]);
  todos.list = 'b';
  todos.fetch = () => { calls += 10; };
  const events = eventsOf(todos);
  client.listener.refresh('todo?["a"]');
  assert.deepEqual([client.last.url, client.last.headers], ['/todo?list=a', {'x-tenant': 'mine'}]);
  client.read('todo?["a"]', 6, [milk, eggs]);
  assert.deepEqual(events, ['add', 'update']);
  assert.equal(calls, 2);
});

test('a refresh of a query removes records that no longer match without destroy events', () => {
  const {Todos, client} = start();
  const todos = new Todos();
  todos.fetch({data: {done: false}});
  client.read('todo?[0]', 5, [milk, eggs]);
  const events = eventsOf(todos.get(1));
  client.listener.refresh('todo?[0]');
  client.read('todo?[0]', 6, [eggs]);
  assert.deepEqual(client.asked, ['GET /todo?done=false', 'GET /todo?done=false']);
  assert.deepEqual(events, ['remove']);
});

test('a refresh keeps a model whose create is pending', () => {
  const {todos, client} = startWithTodos();
  const bread = todos.create({title: 'Bread'});
  const [, create] = client.requests;
  client.listener.refresh('todo');
  client.read('todo', 6, [milk, eggs]);
  assert.equal(todos.length, 3);
  client.wrote('todo/3', 7, {id: 3, title: 'Bread'}, create);
  assert.equal(todos.get(3), bread);
});

test('a refresh of a collection read in pages reads all of them, and removes records that are in none', () => {
  const {Todos, client} = start();
  const todos = new Todos();
  todos.fetch({data: {skip: 0}});
  client.read('todo?[0]', 5, [milk]);
  todos.fetch({data: {skip: 1}, remove: false});
  client.read('todo?[1]', 5, [eggs, {id: 3}]);
  todos.add({title: 'not saved yet'});
  const removed = [];
  todos.on('remove', (model, collection, options) => removed.push([model.id, options.realtime]));
  const refresh = offset => {
    client.listener.refresh('todo?[0]');
    client.listener.refresh('todo?[1]');
    client.read('todo?[0]', offset, [milk], client.requests.at(-2));
    assert.equal(todos.has(eggs), true);
    client.read('todo?[1]', offset, [eggs]);
  };
  refresh(6);
  refresh(7);
  assert.deepEqual(removed, [[3, true]]);
  assert.deepEqual(client.asked.slice(2),
    ['GET /todo?skip=0', 'GET /todo?skip=1', 'GET /todo?skip=0', 'GET /todo?skip=1']);
  assert.equal(todos.length, 3);
});

test('each collection of a room is read again, and a destroyed record is removed once', () => {
  const {Todos, todos, client} = startWithTodos();
  const other = new Todos();
  other.fetch();
  client.read('todo', 5, [milk, eggs]);
  const events = [todos, other].map(each => eventsOf(each.get(1)));
  client.listener.refresh('todo');
  client.read('todo', 9, [eggs], client.requests[2]);
  client.read('todo', 9, [eggs], client.requests[3]);
  assert.deepEqual(events, [['remove', 'destroy'], ['remove', 'destroy']]);
});

test('a refresh from another log starts over', () => {
  const {todos, client} = startWithTodos();
  client.listener.refresh('todo');
  client.read('todo', 2, [{...milk, title: 'Soy milk'}], client.last, 8);
  assert.deepEqual(todos.toJSON(), [{...milk, title: 'Soy milk'}]);
  client.push('todo', updated(3, 1, {done: true}));
  assert.equal(todos.get(1).get('done'), true);
});

test('a late change in one list does not set back a record after another list was read from the restarted server', () => {
  const {Todos, todos, client} = startWithTodos();
  client.push('todo', updated(7, 1, {title: 'Newer'}));
  const others = new Todos();
  others.fetch({data: {where: '{"done":true}'}});
  client.read('todo?{"done":true}', 8, [], client.last, 8);
  client.push('todo', updated(6, 1, {title: 'Older'}));
  assert.equal(todos.get(1).get('title'), 'Newer');
});

test('a change before an own write does not set it back after a read of another list in the same epoch', () => {
  const {Todos, todos, client} = startWithTodos();
  todos.get(1).save({title: 'Oat milk'});
  client.answer(200, {...milk, title: 'Oat milk'}, {'backwire-record': 'todo/1', 'backwire-position': '8:7'});
  const others = new Todos();
  others.fetch({data: {where: '{"done":true}'}});
  client.read('todo?{"done":true}', 7, [], client.last, 8);
  client.push('todo', updated(6, 1, {title: 'Earlier'}));
  assert.equal(todos.get(1).get('title'), 'Oat milk');
});

test('a record that the list did not have is not added by the answer to an older write', () => {
  const {Todo, todos, client} = startWithTodos();
  const position = offset => ({'backwire-record': `todo/${offset}`, 'backwire-position': `7:${offset}`});
  // Another page has destroyed the record. The answer is that of a repeat.
  new Todo({title: 'Salt'}).save();
  client.answer(201, {id: 4, title: 'Salt'}, position(4));
  assert.equal(todos.get(4), undefined);
  new Todo({title: 'Eggs'}).save();
  client.answer(201, {id: 6, title: 'Eggs'}, position(6));
  assert.ok(todos.get(6));
});

test('a refresh of a model sets the attributes that differ', () => {
  const {Todo, client} = start();
  const todo = new Todo({id: 1});
  todo.fetch();
  client.read('todo/1', 5, milk);
  const events = eventsOf(todo);
  client.listener.refresh('todo/1');
  client.read('todo/1', 9, {...milk, done: true});
  assert.deepEqual(events, ['change:done', 'change']);
});

test('a model whose record no longer exists when it is read again is destroyed in all collections', () => {
  const {Todo, todos, client} = startWithTodos();
  const todo = new Todo({id: 1});
  todo.fetch();
  client.read('todo/1', 5, milk);
  const events = eventsOf(todo);
  client.listener.refresh('todo/1');
  client.answer(404, {code: 'E_NOT_FOUND', message: 'no todo 1'});
  assert.deepEqual(events, ['destroy']);
  assert.deepEqual(todos.pluck('id'), [2]);
  assert.ok(client.calls.includes('unsubscribe todo/1'));
});

test('a refresh that fails temporarily is tried again', context => {
  mock.timers.enable({apis: ['setTimeout']});
  context.after(() => mock.timers.reset());
  const {todos, client} = startWithTodos();
  client.listener.refresh('todo');
  for (const status of [503, 429, 0]) {
    const before = client.requests.length;
    client.answer(status, {message: 'not now'});
    assert.equal(client.requests.length, before);
    mock.timers.tick(3000);
    assert.equal(client.requests.length, before + 1);
  }
  client.read('todo', 9, [eggs]);
  assert.deepEqual(todos.pluck('id'), [2]);
});

test('a refresh that fails for many is tried again once for each', context => {
  mock.timers.enable({apis: ['setTimeout']});
  context.after(() => mock.timers.reset());
  const {Backwire, Todos, todos, client} = startWithTodos();
  const other = new Todos();
  other.fetch();
  client.read('todo', 5, [milk, eggs]);
  client.listener.refresh('todo');
  for (const request of client.requests.slice(2)) client.answer(503, {}, {}, request);
  mock.timers.tick(3000);
  assert.equal(client.requests.length, 6);
  for (const request of client.requests.slice(4)) client.answer(503, {}, {}, request);
  Backwire.stop(todos).stop(other);
  mock.timers.tick(3000);
  assert.equal(client.requests.length, 6);
});

test('a query whose refresh is forbidden ends, and its records are removed', () => {
  for (const status of [401, 403]) {
    const {todos, client} = startWithTodos();
    todos.add({title: 'not saved yet'});
    client.listener.refresh('todo');
    client.answer(status, {message: 'not yours any more'});
    assert.ok(client.calls.includes('unsubscribe todo'));
    assert.deepEqual(todos.pluck('title'), ['not saved yet']);
  }
});

test('a model that may not be read any more is destroyed', () => {
  const {Backbone, client} = start();
  const todo = new Backbone.Model({id: 1});
  todo.urlRoot = '/todo';
  const events = [];
  todo.on('destroy', () => events.push('destroy'));
  todo.fetch();
  client.read('todo?[1,{}]', 5, milk);
  client.listener.refresh('todo?[1,{}]');
  client.answer(403, {message: 'not yours any more'});
  assert.deepEqual(events, ['destroy']);
  assert.ok(client.calls.includes('unsubscribe todo?[1,{}]'));
});

test('the room of a model that may not be read any more is left', () => {
  const {Backbone, client} = start();
  const todo = new Backbone.Model({id: 1});
  todo.urlRoot = '/todo';
  todo.fetch();
  client.read('todo?[1,{}]', 5, milk);
  client.push('todo?[1,{}]', destroyed(6, 1));
  assert.ok(client.calls.includes('unsubscribe todo?[1,{}]'));
});

test('a refresh of a room without queries leaves the room', () => {
  const {client} = start();
  client.listener.refresh('todo');
  assert.deepEqual(client.calls, ['connect', 'unsubscribe todo']);
});

// Stop
// ----

test('a stopped target is no longer updated, and the last target leaves the room', () => {
  const {Backwire, Todos, todos, client} = startWithTodos();
  const other = new Todos();
  other.fetch();
  client.read('todo', 5, [milk, eggs]);
  Backwire.stop(todos);
  client.push('todo', destroyed(6, 1));
  assert.deepEqual([todos.length, other.length], [2, 1]);
  assert.deepEqual(client.calls, ['connect']);
  Backwire.stop(other);
  Backwire.stop(other);
  assert.deepEqual(client.calls, ['connect', 'unsubscribe todo']);
  client.push('todo', destroyed(7, 2));
  assert.equal(other.length, 1);
});

test('a target that is stopped and fetched again is live again', () => {
  const {Backwire, todos, client} = startWithTodos();
  Backwire.stop(todos);
  todos.fetch();
  client.read('todo', 5, [milk]);
  client.push('todo', created(6, eggs));
  assert.equal(todos.length, 2);
});

test('a target that is stopped while it is being read does not become live', () => {
  const {Backwire, Todos, client} = start();
  const todos = new Todos();
  todos.fetch();
  Backwire.stop(todos);
  client.read('todo', 5, [milk]);
  client.push('todo', created(6, eggs));
  assert.equal(todos.length, 1);
  assert.deepEqual(client.calls, ['connect', 'unsubscribe todo']);
});

test('a room is not left while a read may be joining it', () => {
  const {Backwire, Todos, todos, client} = startWithTodos();
  const other = new Todos();
  other.fetch();
  Backwire.stop(todos);
  assert.deepEqual(client.calls, ['connect']);
  client.read('todo', 5, [milk]);
  client.push('todo', created(6, eggs));
  assert.equal(other.length, 2);
  assert.deepEqual(client.calls, ['connect']);
  Backwire.stop(other);
  assert.deepEqual(client.calls, ['connect', 'unsubscribe todo']);
});

test('a room is left when the read that may have joined it has failed or was aborted', () => {
  for (const end of [client => client.answer(500, {}), (client, xhr) => xhr.abort()]) {
    const {Backwire, Todos, todos, client} = startWithTodos();
    const xhr = new Todos().fetch();
    Backwire.stop(todos);
    end(client, xhr);
    assert.equal(client.calls.at(-1), 'unsubscribe todo');
  }
});

test('a destroyed model leaves its room', () => {
  const {Todo, client} = start();
  const todo = new Todo({id: 1});
  todo.fetch();
  client.read('todo/1', 5, milk);
  client.push('todo/1', destroyed(6, 1));
  assert.deepEqual(client.calls, ['connect', 'unsubscribe todo/1']);
});

test('a collection that reads another url follows that url instead', () => {
  const {todos, client} = startWithTodos();
  todos.url = '/done';
  todos.fetch();
  client.read('done', 3, [milk]);
  assert.deepEqual(client.calls, ['connect', 'unsubscribe todo']);
  client.push('todo', destroyed(6, 1));
  client.push('done', created(4, eggs));
  assert.equal(todos.length, 2);
});

test('records of a room that was left are forgotten, except those that are still followed', () => {
  const {Backwire, Todo, Todos, client} = start();
  const seen = [];
  const Watched = Todo.extend({parse: record => seen.push(record.secret) && record});
  const todos = new (Todos.extend({model: Watched}))();
  todos.fetch();
  client.read('todo', 5, [{id: 1, secret: 'a'}, {id: 2, secret: 'b'}]);
  const lone = new Watched({id: 1});
  lone.fetch();
  client.read('todo/1', 5, {id: 1, secret: 'a'});
  Backwire.stop(todos);
  seen.length = 0;
  client.push('todo/1', updated(6, 1, {done: true}));
  assert.deepEqual(seen, ['a']);
  const next = new (Todos.extend({model: Watched}))([{id: 1}, {id: 2}]);
  next.fetch({data: {id: 1}, remove: false});
  client.read('todo?[1]', 6, []);
  next.add([{id: 2}]);
  seen.length = 0;
  client.push('todo?[1]', updated(7, 2, {done: true}));
  assert.deepEqual(seen, [undefined]);
});

test('a refresh whose answer covers less of the resource removes the other records', () => {
  const {todos, client} = startWithTodos();
  client.listener.refresh('todo');
  client.read('todo?{"less":1}', 9, [eggs]);
  assert.deepEqual(todos.pluck('id'), [2]);
  client.push('todo?{"less":1}', created(10, {id: 3, title: 'Jam'}));
  assert.deepEqual(todos.pluck('id'), [2, 3]);
});

test('a destroyed model that is saved again as a new record fires destroy when that is destroyed', () => {
  const {client, todos} = startWithTodos();
  const model = todos.get(1);
  model.destroy();
  client.wrote('todo/1', 6);
  model.unset('id');
  model.save();
  client.wrote('todo/3', 7, {...milk, id: 3});
  const events = eventsOf(model);
  client.push('todo', destroyed(8, 3));
  client.push('todo/3', destroyed(8, 3));
  assert.deepEqual(events, ['destroy']);
});

test('a handler of resync that throws does not keep a list from being read again', context => {
  const {Backwire, client} = startWithTodos();
  const errors = [];
  globalThis.reportError = error => errors.push(error.message);
  context.after(() => { delete globalThis.reportError; });
  Backwire.on('resync', () => { throw new Error('of the page'); });
  client.listener.refresh('todo');
  assert.deepEqual([client.asked, errors], [['GET /todo', 'GET /todo'], ['of the page']]);
});

test('a list that is stopped by a handler of another list while it is read brings its records to the other', context => {
  const errors = [];
  globalThis.reportError = error => errors.push(error.message);
  context.after(() => { delete globalThis.reportError; });
  const {Backwire, Todos, client, todos} = startWithTodos();
  const other = new Todos();
  todos.once('change', () => Backwire.stop(other));
  other.fetch();
  client.read('todo', 6, [{...milk, title: 'Oat milk'}, eggs, {id: 3, title: 'Bread', done: false}]);
  client.push('todo', created(7, {id: 4, title: 'Salt', done: false}));
  assert.deepEqual([todos.pluck('id'), other.pluck('id'), errors], [[1, 2, 3, 4], [1, 2, 3], []]);
});

test('the record of a model with another idAttribute is not forgotten when a list of it ends', () => {
  const {Backwire, Todo, Todos, client} = start();
  const record = {...milk, code: 'c1'};
  const model = new (Todo.extend({idAttribute: 'code', url: '/todo/1'}))({code: 'c1'});
  model.fetch();
  client.read('todo/1', 5, {...record});
  const list = new Todos();
  list.fetch();
  client.read('todo', 5, [{...record}]);
  Backwire.stop(list);
  model.save({title: 'Oat milk'});
  assert.deepEqual([client.last.method, client.last.body], ['patch', {code: 'c1', title: 'Oat milk'}]);
});
