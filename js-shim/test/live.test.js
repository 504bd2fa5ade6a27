// Events for pushes and replies
// -----------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {created, destroyed, updated} from '../fakes/client.js';
import {eventsOf, lateParts, start, startWithTodos} from '../fakes/page.js';
import {realJquery} from '../fakes/jquery.js';

const titles = todos => todos.map(todo => todo.get('title'));

// Creates
// -------

test('a create made elsewhere is added with realtime: true in its options', () => {
  const {todos, client} = startWithTodos();
  const added = [];
  todos.on('add', (model, collection, options) => added.push([model.id, collection === todos, options.realtime]));
  client.push('todo', created(6, {id: 9, title: 'Bread'}));
  assert.deepEqual(added, [[9, true, true]]);
  assert.deepEqual(titles(todos), ['Milk', 'Eggs', 'Bread']);
});

test('a burst of creates is one update', () => {
  const {todos, client} = startWithTodos();
  const events = eventsOf(todos);
  client.push('todo', ...Array.from({length: 100}, (_, i) => created(6 + i, {id: 10 + i})));
  assert.equal(events.filter(name => name === 'add').length, 100);
  assert.equal(events.filter(name => name === 'update').length, 1);
  assert.equal(todos.length, 102);
});

test('created records are added at their place in a sorted collection', () => {
  const {Todos, client} = start();
  const todos = new (Todos.extend({comparator: 'title'}))();
  todos.fetch();
  client.read('todo', 5, [{id: 1, title: 'B'}, {id: 2, title: 'D'}]);
  client.push('todo', created(6, {id: 3, title: 'C'}), created(7, {id: 4, title: 'A'}));
  assert.deepEqual(titles(todos), ['A', 'B', 'C', 'D']);
});

test('a create is parsed by its model, which may keep its argument, and not by the collection', () => {
  const {Todo, Todos, client} = start();
  const Parsed = Todo.extend({
    parse(record) {
      record.due = new Date(record.due);
      record.tags.push('parsed');
      return record;
    }
  });
  const lists = [];
  const todos = new (Todos.extend({model: Parsed, parse(list) { lists.push(list); return list; }}))();
  todos.fetch();
  client.read('todo', 5, []);
  client.push('todo', created(6, {id: 1, due: 0, tags: []}));
  assert.deepEqual(lists, [[]]);
  assert.deepEqual([todos.get(1).get('due').getTime(), todos.get(1).get('tags')], [0, ['parsed']]);
});

test('each collection parses its own copy of a record', () => {
  const {Todo, Todos, client} = start();
  const Popped = Todo.extend({parse: record => ({...record, name: record.names.pop()})});
  const [first, second, third] = [1, 2, 3].map(() => new (Todos.extend({model: Popped}))());
  const names = id => [first, second, third].map(todos => todos.get(id)?.get('name'));
  for (const todos of [first, second, third]) {
    todos.fetch();
    client.read('todo', 5, []);
  }
  client.push('todo', created(6, {id: 1, names: ['a', 'b']}));
  assert.deepEqual(names(1), ['b', 'b', 'b']);
  first.fetch();
  client.read('todo', 7, [{id: 1, names: ['a', 'b']}, {id: 2, names: ['c', 'd']}]);
  assert.deepEqual(names(2), ['d', 'd', 'd']);
  first.get(1).save();
  client.wrote('todo/1', 8, {id: 1, names: ['e', 'f']});
  assert.deepEqual(names(1), ['f', 'f', 'f']);
  client.push('todo', updated(9, 1, {age: 3}));
  assert.deepEqual(names(1), ['f', 'f', 'f']);
});

for (const wait of [true, false]) {
  test(`one's own create is one model, with wait: ${wait}, whether its echo is covered by the reply or not`, () => {
    for (const isEchoed of [true, false]) {
      const {todos, client} = startWithTodos();
      const events = eventsOf(todos);
      const todo = todos.create({title: 'Bread'}, {wait});
      assert.equal(todos.length, wait ? 2 : 3);
      client.wrote('todo/9', 6, {id: 9, title: 'Bread', updatedAt: 3});
      if (isEchoed) client.push('todo', created(6, {id: 9, title: 'Bread', updatedAt: 3}));
      assert.equal(todos.length, 3);
      assert.equal(todos.get(9), todo);
      assert.equal(todo.get('updatedAt'), 3);
      assert.equal(events.filter(name => name === 'add').length, 1);
      client.push('todo', updated(7, 9, {title: 'Rye bread'}));
      assert.equal(todo.get('title'), 'Rye bread');
    }
  });
}

test('one\'s own create of a lone model is added to the collections of its resource', () => {
  const {Todo, todos, client} = startWithTodos();
  new Todo().save({title: 'Bread'}, {success: todo => assert.equal(todos.get(todo.id), undefined)});
  client.wrote('todo/9', 6, {id: 9, title: 'Bread'});
  assert.deepEqual(titles(todos), ['Milk', 'Eggs', 'Bread']);
});

test('a create whose success callback adds the model is one model', () => {
  const {Todo, todos, client} = startWithTodos();
  const todo = new Todo();
  todo.save({title: 'Bread'}, {success: () => todos.add(todo)});
  client.wrote('todo/9', 6, {id: 9, title: 'Bread'});
  assert.equal(todos.length, 3);
  assert.equal(todos.get(9), todo);
});

test('a fetch of the page adds only the records of its answer', () => {
  const {Todos, client} = start();
  const todos = new Todos([{id: 1}]);
  todos.fetch({add: false});
  client.read('todo', 5, [{id: 1, title: 'Milk'}, {id: 2, title: 'Eggs'}]);
  assert.deepEqual(titles(todos), ['Milk']);
});

// Updates
// -------

test('an update sets its attributes, once, and unsaved edits of other attributes stay', () => {
  const {todos, client} = startWithTodos();
  const milk = todos.get(1);
  milk.set('title', 'Oat milk');
  const changes = [];
  milk.on('change', (model, options) => changes.push([model.changedAttributes(), options.realtime]));
  client.push('todo', updated(6, 1, {done: true, updatedAt: 9}));
  assert.deepEqual(changes, [[{done: true, updatedAt: 9}, true]]);
  assert.deepEqual(milk.toJSON(), {id: 1, title: 'Oat milk', done: true, updatedAt: 9});
});

test('an update that changes nothing is silent', () => {
  const {todos, client} = startWithTodos();
  const events = eventsOf(todos);
  client.push('todo', updated(6, 1, {done: false}));
  todos.get(1).set('done', true);
  client.push('todo', updated(7, 1, {done: false}), updated(8, 1, {title: 'Milk'}));
  assert.deepEqual(events, ['change:done', 'change']);
});

test('an unsaved edit of the same attribute is overwritten, also while the model is read', () => {
  const {todos, client} = startWithTodos();
  todos.get(1).set('title', 'mine');
  todos.get(1).fetch();
  client.push('todo', updated(6, 1, {title: 'theirs'}));
  assert.equal(todos.get(1).get('title'), 'theirs');
});

test('an update adds nothing', () => {
  const {todos, client} = startWithTodos();
  const events = eventsOf(todos);
  client.push('todo', updated(6, 77, {done: true}));
  client.push('todo', destroyed(7, 78));
  client.push('nothing', updated(6, 1, {done: true}));
  assert.deepEqual(events, []);
});

test('an instance in two collections changes once', () => {
  const {Todos, todos, client} = startWithTodos();
  const other = new Todos();
  other.add(todos.get(1));
  other.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Eggs', done: false}]);
  const events = eventsOf(todos.get(1));
  client.push('todo', updated(6, 1, {done: true}));
  assert.deepEqual(events, ['change:done', 'change']);
});

test('a parse that needs the whole record works on updates', () => {
  const {Todo, Todos, client} = start();
  const Person = Todo.extend({
    parse: ({id, first, last, born}) => ({id, name: `${first} ${last}`, born: new Date(born)})
  });
  const people = new (Todos.extend({model: Person}))();
  people.fetch();
  client.read('todo', 5, [{id: 1, first: 'Ada', last: 'Byron', born: 0}]);
  const ada = people.get(1);
  const {born} = ada.attributes;
  const events = eventsOf(ada);
  client.push('todo', updated(6, 1, {last: 'Lovelace'}));
  assert.equal(ada.get('name'), 'Ada Lovelace');
  assert.equal(ada.get('born'), born);
  client.push('todo', updated(7, 1, {born: 5}));
  assert.equal(ada.get('born').getTime(), 5);
  assert.deepEqual(events, ['change:name', 'change', 'change:born', 'change']);
});

test('a parse works on updates of a model that the page has made itself', () => {
  const {Todo, Todos, client} = start();
  const Renamed = Todo.extend({parse: record => ({...record, title: record.t})});
  const todos = new (Todos.extend({model: Renamed}))();
  todos.fetch();
  client.read('todo', 5, []);
  todos.add({id: 1, title: 'Milk', due: new Date(0)});
  client.push('todo', updated(6, 1, {t: 'Eggs'}));
  client.push('todo', updated(7, 1, {done: true}));
  assert.deepEqual([todos.get(1).get('title'), todos.get(1).get('due').getTime()], ['Eggs', 0]);
});

test('a partial record is not taken for a whole record', () => {
  const {Todo, Todos, client} = start();
  const Person = Todo.extend({parse: record => ({...record, name: `${record.first} ${record.last}`})});
  const people = new (Todos.extend({model: Person}))();
  people.fetch();
  client.read('todo', 5, []);
  people.add({id: 1, first: 'Ada', last: 'King'});
  client.push('todo', updated(6, 1, {last: 'Byron'}));
  client.push('todo', updated(7, 1, {last: 'Lovelace'}));
  assert.equal(people.get(1).get('name'), 'Ada Lovelace');
});

test('a collection with a modelId of its own finds its models', () => {
  const {Todos, client} = start();
  const todos = new (Todos.extend({modelId: ({kind, id}) => `${kind}-${id}`}))();
  todos.fetch();
  client.read('todo', 5, [{id: 1, kind: 'a'}]);
  client.push('todo', created(6, {id: 1, kind: 'a', title: 'Milk'}));
  assert.deepEqual(todos.toJSON(), [{id: 1, kind: 'a', title: 'Milk'}]);
  client.push('todo', destroyed(7, 1));
  assert.equal(todos.length, 0);
});

test('a model that follows a whole resource shows only its own record', () => {
  const {Todo, client} = start();
  const todo = new Todo({id: 1});
  todo.url = '/todo';
  todo.fetch();
  client.read('todo', 5, {id: 1, title: 'Milk'});
  client.push('todo', updated(6, 2, {title: 'Eggs'}), destroyed(7, 2), updated(8, 1, {done: true}));
  assert.deepEqual(todo.toJSON(), {id: 1, title: 'Milk', done: true});
});

test('nested models made by parse are replaced only if they changed', () => {
  const {Backbone, Todo, Todos, client} = start();
  const Nested = Todo.extend({parse: record => ({...record, items: new Backbone.Collection(record.items)})});
  const todos = new (Todos.extend({model: Nested}))();
  todos.fetch();
  client.read('todo', 5, [{id: 1, items: [{id: 1}]}]);
  const items = todos.get(1).get('items');
  client.push('todo', updated(6, 1, {title: 'Milk'}));
  assert.equal(todos.get(1).get('items'), items);
  client.push('todo', updated(7, 1, {items: [{id: 1}, {id: 2}]}));
  assert.equal(todos.get(1).get('items').length, 2);
});

test('another idAttribute and string ids work', () => {
  const {Backbone, client} = start();
  const User = Backbone.Model.extend({idAttribute: 'login', parse: record => ({...record, shout: `${record.name}!`})});
  const users = new (Backbone.Collection.extend({url: '/user', model: User}))();
  users.fetch();
  client.read('user', 5, [{login: 'ada', name: 'Ada', age: 36}]);
  client.push('user', updated(6, 'ada', {age: 37}), [7, 1, 'bob', {login: 'bob', name: 'Bob'}, 0], destroyed(8, 'ada'));
  assert.deepEqual(users.toJSON(), [{login: 'bob', name: 'Bob', shout: 'Bob!'}]);
});

test('an edit whose save is pending stays on top, and the reply decides', () => {
  const {todos, client} = startWithTodos();
  const milk = todos.get(1);
  milk.save({title: 'mine'});
  client.push('todo', updated(6, 1, {title: 'theirs', done: true}));
  assert.deepEqual([milk.get('title'), milk.get('done')], ['mine', true]);
  client.wrote('todo/1', 7, {id: 1, title: 'mine', done: true});
  client.push('todo', updated(8, 1, {title: 'theirs again'}));
  assert.equal(milk.get('title'), 'theirs again');
});

test('a sorted collection follows its comparator, and fires sort only if the order changed', () => {
  const {Todos, client} = start();
  const todos = new (Todos.extend({comparator: 'title'}))();
  todos.fetch();
  client.read('todo', 5, [{id: 1, title: 'A'}, {id: 2, title: 'B'}]);
  const events = eventsOf(todos);
  client.push('todo', updated(6, 1, {title: 'AA'}), updated(7, 2, {done: true}));
  assert.deepEqual(events, ['change:title', 'change', 'change:done', 'change', 'update']);
  client.push('todo', updated(8, 1, {title: 'C'}));
  assert.deepEqual(titles(todos), ['B', 'C']);
  assert.deepEqual(events.slice(5), ['change:title', 'change', 'sort', 'update']);
});

test('a change that is older than the known record is not applied', () => {
  const {todos, client} = startWithTodos();
  todos.get(1).save({title: 'Oat milk'});
  client.wrote('todo/1', 9, {id: 1, title: 'Oat milk', done: true});
  client.push('todo', updated(8, 1, {title: 'Soy milk', done: true}));
  assert.equal(todos.get(1).get('title'), 'Oat milk');
});

test('creates, updates and destroys of one push are applied in their order', () => {
  const {todos, client} = startWithTodos();
  client.push('todo', created(6, {id: 3, title: 'A'}), updated(7, 3, {title: 'B'}), destroyed(8, 1),
    created(9, {id: 4, title: 'C'}), destroyed(10, 3), created(11, {id: 5}), destroyed(12, 5),
    created(13, {id: 6, title: 'D'}), updated(14, 6, {title: 'E'}));
  assert.deepEqual(todos.pluck('id'), [2, 4, 6]);
  assert.deepEqual(titles(todos), ['Eggs', 'C', 'E']);
});

// Destroys
// --------

test('a destroy made elsewhere fires destroy on the model and remove on its collections', () => {
  const {Todos, todos, client} = startWithTodos();
  const other = new Todos();
  other.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Eggs', done: false}]);
  const seen = [];
  todos.get(1).on('destroy', (model, collection, options) => seen.push([collection === todos, options.realtime]));
  const events = [eventsOf(todos), eventsOf(other)];
  todos.get(1).listenTo(todos, 'custom', () => assert.fail('a destroyed model listens to nobody'));
  client.push('todo', destroyed(6, 1));
  todos.trigger('custom');
  events[0].pop();
  assert.deepEqual(seen, [[true, true]]);
  assert.deepEqual(events, Array(2).fill(['remove', 'update', 'destroy']));
  assert.deepEqual([todos.length, other.length], [1, 1]);
});

test('one\'s own destroy takes the record from the other collections too', () => {
  const {Todos, todos, client} = startWithTodos();
  const other = new Todos();
  other.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Eggs', done: false}]);
  const events = eventsOf(todos.get(1));
  todos.get(1).destroy();
  assert.equal(other.length, 2);
  client.wrote('todo/1', 6, {id: 1});
  assert.deepEqual(other.pluck('id'), [2]);
  assert.equal(events.filter(name => name === 'destroy').length, 1);
});

// All targets of a resource
// -------------------------

test('all collections of a url and single models are updated', () => {
  const {Todo, Todos, todos, client} = startWithTodos();
  const other = new Todos();
  other.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Eggs', done: false}]);
  const lone = new Todo({id: 1});
  lone.fetch();
  client.read('todo/1', 5, {id: 1, title: 'Milk', done: false});
  const events = [todos.get(1), other.get(1), lone].map(eventsOf);
  client.push('todo', updated(6, 1, {done: true}), created(7, {id: 3}));
  assert.deepEqual(events, Array(3).fill(['change:done', 'change']));
  assert.deepEqual([todos.length, other.length], [3, 3]);
  client.push('todo/1', updated(8, 1, {done: false}));
  assert.deepEqual([todos.get(1), other.get(1), lone].map(todo => todo.get('done')), [false, false, false]);
});

test('a save of one model is shown by the other models of the record', () => {
  const {Todo, todos, client} = startWithTodos();
  const lone = new Todo({id: 1});
  lone.fetch();
  client.read('todo/1', 5, {id: 1, title: 'Milk', done: false});
  lone.save({title: 'Oat milk'}, {success: () => lone.set('title', 'typing on')});
  client.wrote('todo/1', 6, {id: 1, title: 'Oat milk', done: false});
  assert.equal(todos.get(1).get('title'), 'Oat milk');
  assert.equal(lone.get('title'), 'typing on');
});

test('edits in callbacks of the page stay', () => {
  const {todos, client} = startWithTodos();
  const edit = () => todos.get(1).set('title', 'typing on');
  todos.get(1).save({title: 'Oat milk'}, {success: edit});
  client.wrote('todo/1', 6, {id: 1, title: 'Oat milk', done: false});
  assert.equal(todos.get(1).get('title'), 'typing on');
  todos.fetch({success: edit});
  client.read('todo', 7, [{id: 1, title: 'Soy milk', done: false}]);
  assert.equal(todos.get(1).get('title'), 'typing on');
});

test('a reply without a body means that the record was saved as sent', () => {
  const {Todo, todos, client} = startWithTodos();
  const lone = new Todo({id: 1, title: 'Milk'});
  lone.save({done: true}, {patch: true});
  client.wrote('todo/1', 6);
  assert.equal(todos.get(1).get('done'), true);
});

test('records that one collection reads are shown by the others, because the core will not push them', () => {
  const {Todos, todos, client} = startWithTodos();
  const destroys = [];
  todos.on('destroy', model => destroys.push(model.id));
  const events = eventsOf(todos);
  const other = new Todos();
  other.fetch();
  client.read('todo', 8, [{id: 2, title: 'Ten eggs', done: false}, {id: 3, title: 'Bread'}]);
  assert.deepEqual(todos.toJSON(), other.toJSON());
  assert.deepEqual(destroys, [1]);
  assert.equal(events.filter(name => name === 'add' || name === 'remove').length, 2);
});

test('new records of an answer are added only to collections that have read all', () => {
  const {Todos, client} = start();
  const some = new Todos();
  some.fetch({data: {done: true}});
  client.read('todo?[1]', 5, [{id: 1, done: true}]);
  new Todos().fetch();
  client.read('todo', 5, [{id: 1, done: true}, {id: 2, done: false}]);
  assert.deepEqual(some.pluck('id'), [1]);
});

test('an answer with some of the records removes none', () => {
  const {Todos, Todo, todos, client} = startWithTodos();
  new Todos().fetch({data: {title: 'Eggs'}});
  client.read('todo?[2]', 5, [{id: 2, title: 'Eggs', done: false}]);
  new Todo({id: 2}).fetch();
  client.read('todo/2', 5, {id: 2, title: 'Eggs', done: false});
  assert.equal(todos.length, 2);
});

test('an answer does not replace newer records', () => {
  const {Todo, Todos, todos, client} = startWithTodos();
  client.push('todo', updated(9, 1, {title: 'Soy milk'}), created(10, {id: 3, title: 'Bread'}));
  new Todo({id: 1}).fetch();
  client.read('todo/1', 8, {id: 1, title: 'Milk', done: false});
  new Todos().fetch();
  client.read('todo', 8, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Eggs', done: false}]);
  assert.deepEqual(titles(todos), ['Soy milk', 'Eggs', 'Bread']);
});

test('an answer without a room or with an error makes nothing live', () => {
  const {Todos, client} = start();
  const todos = new Todos();
  todos.fetch();
  client.answer(200, [{id: 1}], {'backwire-position': '7:5'});
  todos.fetch();
  client.answer(404, {message: 'no'}, {'backwire-position': '7:5', 'backwire-room': 'todo'});
  client.push('todo', created(6, {id: 2}));
  assert.equal(todos.length, 1);
});

test('handlers that throw stop neither other handlers nor the update', context => {
  const reported = [];
  globalThis.reportError = error => reported.push(error.message);
  context.after(() => { delete globalThis.reportError; });
  const {todos, client} = startWithTodos();
  todos.get(1).on('change', () => { throw new Error('change'); });
  todos.get(2).on('destroy', () => { throw new Error('destroy'); });
  client.push('todo', updated(6, 1, {done: true}), destroyed(7, 2), created(8, {id: 3}));
  assert.deepEqual(reported, ['change', 'destroy']);
  assert.deepEqual([todos.get(1).get('done'), todos.has(3)], [true, true]);
});

test('a new model that reads the url of its list removes nothing from the collections', () => {
  const {Todo, todos, client} = startWithTodos();
  const fresh = new Todo();
  todos.add(fresh);
  fresh.fetch();
  client.read('todo', 6, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Ten eggs', done: false}]);
  assert.deepEqual(titles(todos).slice(0, 2), ['Milk', 'Ten eggs']);
  client.push('todo', created(7, {id: 3, title: 'Bread'}));
  assert.equal(todos.get(3).get('title'), 'Bread');
});

test('a read by another target leaves changedAttributes of a model unchanged', () => {
  const {Todos, todos, client} = startWithTodos();
  todos.get(1).set('title', 'Oat milk');
  new Todos().fetch({data: {sort: 'title'}});
  client.read('todo', 6, [{id: 2, title: 'Eggs', done: false}, {id: 1, title: 'Milk', done: false}]);
  assert.deepEqual(todos.get(1).changedAttributes(), {title: 'Oat milk'});
});

test('models of a former page stay fresh while another collection holds them', () => {
  const {Backbone, Todos, client} = start();
  const page = new Todos(), all = new Backbone.Collection();
  const turn = (skip, record) => {
    page.fetch({data: {limit: 1, skip}});
    client.read(`todo?[${skip}]`, 5, [record]);
    all.add(page.models);
  };
  turn(0, {id: 1, title: 'Milk'});
  turn(1, {id: 2, title: 'Eggs'});
  // The former query is sent once more, for its present result.
  assert.deepEqual(client.asked.slice(2), ['GET /todo?limit=1&skip=0']);
  client.read('todo?[0]', 5, [{id: 1, title: 'Milk'}]);
  client.listener.refresh('todo?[0]');
  client.read('todo?[0]', 6, [{id: 1, title: 'Oat milk'}]);
  assert.deepEqual([titles(page), titles(all)], [['Eggs'], ['Oat milk', 'Eggs']]);
  all.reset();
  client.listener.refresh('todo?[0]');
  assert.equal(client.asked.length, 4);
  assert.equal(client.calls.at(-1), 'unsubscribe todo?[0]');
});

test('a create without Backwire is one model, whenever the push arrives and whenever its part is loaded', () => {
  for (const isLate of [false, true]) {
    const {loadPart, load} = lateParts(isLate && 'extra');
    const {todos, client} = startWithTodos({$: realJquery().$, loadPart});
    const own = todos.add({title: 'Bread'});
    client.push('todo', created(6, {id: 3, title: 'Bread'}));
    assert.equal(todos.length, 4);
    own.set({id: 3});
    load('extra');
    assert.deepEqual([todos.length, todos.get(3)], [3, own]);
  }
});

test('a created record that a read brings before the answer to its create appears once', () => {
  const {client, todos} = startWithTodos();
  const bread = todos.create({title: 'Bread'});
  const create = client.last;
  todos.fetch();
  client.read('todo', 6, [{id: 1, title: 'Milk'}, {id: 2, title: 'Eggs'}, {id: 3, title: 'Bread'}]);
  client.wrote('todo/3', 6, {id: 3, title: 'Bread'}, create);
  assert.deepEqual(todos.pluck('id').sort(), [1, 2, 3]);
  assert.equal(todos.get(3), bread);
});

test('Backwire tells what came after a reconnect, and which collections are read again', () => {
  const {Backwire, todos, client} = startWithTodos();
  const told = [];
  Backwire.on('resume', about => told.push(about));
  Backwire.on('resync', ({target}) => told.push(target === todos));
  client.listener.resumed(true, 3);
  client.listener.refresh('todo');
  client.listener.resumed(false, 0);
  assert.deepEqual(told, [{recovered: true, count: 3}, true, {recovered: false, count: 0}]);
  assert.equal(client.asked.at(-1), 'GET /todo');
});
