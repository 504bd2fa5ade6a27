// Code of the page that throws, stops lists or uninstalls Backwire
// ----------------------------------------------------------------
//
// `SEED=7 node --test …` runs one page, and `RUNS=1000` runs more of them.

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {created, destroyed, updated} from '../fakes/client.js';
import {reportedErrors} from '../fakes/errors.js';
import {eventsOf, fakePage, lateParts, start, startWithTodos} from '../fakes/page.js';
import {RandomPage, randomOf} from '../fakes/pushes.js';
import {seedsOf} from '../fakes/seeds.js';

const SEEDS = seedsOf(60);
const FRAMES = 6;

const errors = reportedErrors();

const ids = todos => todos.map(({id}) => id);
const fail = reason => { throw new Error(reason); };
const manyCreated = (...numbers) => numbers.map((id, at) => created(6 + at, {id, title: `Title ${id}`}));

// Creates
// -------

test('a parse that throws loses only its own record of a burst', () => {
  const {Todo, Todos, client} = start();
  const Parsed = Todo.extend({parse: record => (record.id === 12 ? fail('of twelve') : record)});
  const todos = new (Todos.extend({model: Parsed}))();
  todos.fetch();
  client.read('todo', 5, []);
  const events = eventsOf(todos);
  client.push('todo', ...manyCreated(10, 11, 12, 13, 14));
  assert.deepEqual(ids(todos), [10, 11, 13, 14]);
  assert.deepEqual(events, ['add', 'add', 'add', 'add', 'update']);
  assert.ok(errors.includes('of twelve'));
  client.push('todo', updated(20, 13, {title: 'Later'}), destroyed(21, 12), destroyed(22, 10));
  assert.deepEqual([ids(todos), todos.get(13).get('title')], [[11, 13, 14], 'Later']);
});

test('a handler of add that throws does not keep the other models of a burst from firing', () => {
  const {todos, client} = startWithTodos();
  const added = [];
  todos.on('add', ({id}) => (id === 11 ? fail('of eleven') : added.push(id)));
  const events = eventsOf(todos);
  client.push('todo', ...manyCreated(10, 11, 12, 13));
  assert.deepEqual([added, ids(todos)], [[10, 12, 13], [1, 2, 10, 11, 12, 13]]);
  assert.deepEqual([events.at(-1), errors], ['update', ['of eleven']]);
});

test('a comparator that throws keeps back no event of a burst', () => {
  const {Todos, client} = start();
  const sorted = new (Todos.extend({comparator: () => fail('of the comparator')}))();
  sorted.fetch();
  client.read('todo', 5, []);
  const events = eventsOf(sorted);
  client.push('todo', ...manyCreated(10, 11, 12));
  assert.deepEqual([ids(sorted), events], [[10, 11, 12], ['add', 'add', 'add', 'sort', 'update']]);
  client.push('todo', updated(20, 11, {title: 'Later'}), destroyed(21, 12));
  assert.deepEqual([ids(sorted), sorted.get(11).get('title')], [[10, 11], 'Later']);
  assert.deepEqual([...new Set(errors)], ['of the comparator']);
});

test('a set that throws loses only the records of its own list', () => {
  const {Todos, client, todos} = startWithTodos();
  let isFailing = false;
  const other = new (Todos.extend({set(...args) { return isFailing ? fail('of set') : Todos.prototype.set.apply(this, args); }}))();
  other.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Eggs', done: false}]);
  isFailing = true;
  client.push('todo', ...manyCreated(10, 11));
  assert.deepEqual([ids(todos), ids(other)], [[1, 2, 10, 11], [1, 2]]);
  isFailing = false;
  client.push('todo', created(9, {id: 12}), updated(10, 1, {title: 'Later'}));
  assert.deepEqual([ids(todos), ids(other), other.get(1).get('title')], [[1, 2, 10, 11, 12], [1, 2, 12], 'Later']);
});

// Changes
// -------

test('a handler of change that throws loses only its own call', () => {
  const {todos, client} = startWithTodos();
  let changes = 0;
  todos.get(1).on('change:title', () => { if (changes++ === 0) fail('of a change'); });
  const events = eventsOf(todos);
  client.push('todo', updated(6, 1, {title: 'Bread'}), updated(7, 2, {title: 'Butter'}));
  assert.deepEqual([todos.pluck('title'), events.at(-1), errors], [['Bread', 'Butter'], 'update', ['of a change']]);
  events.length = 0;
  client.push('todo', updated(8, 1, {title: 'Oats'}));
  assert.deepEqual(events, ['change:title', 'change', 'update']);
});

test('a handler of remove that throws keeps no destroyed model in a list', () => {
  const {Todos, todos, client} = startWithTodos();
  const other = new Todos();
  other.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Eggs', done: false}]);
  todos.on('remove', () => fail('of a removal'));
  client.push('todo', destroyed(6, 1), destroyed(7, 2), created(8, {id: 3}));
  assert.deepEqual([ids(todos), ids(other)], [[3], [3]]);
});

test('a handler of destroy that throws keeps no destroyed model in any list', () => {
  const {Backbone, todos, client} = startWithTodos();
  const picked = new Backbone.Collection([todos.get(1), todos.get(2)]);
  todos.get(1).on('destroy', () => fail('of a destroy'));
  client.push('todo', destroyed(6, 1), destroyed(7, 2));
  assert.deepEqual([ids(todos), ids(picked), errors], [[], [], ['of a destroy']]);
});

test('a handler of sort that throws does not keep update from being fired', () => {
  const {Todos, client} = start();
  const sorted = new (Todos.extend({comparator: 'title'}))();
  sorted.fetch();
  client.read('todo', 5, [{id: 1, title: 'A'}, {id: 2, title: 'B'}]);
  sorted.on('sort', () => fail('of a sort'));
  let updates = 0;
  sorted.on('update', () => { updates += 1; });
  client.push('todo', updated(6, 1, {title: 'C'}));
  assert.deepEqual([ids(sorted), updates, errors], [[2, 1], 1, ['of a sort']]);
});

test('a modelId that throws for a record keeps the other records and lists up to date', () => {
  const {Todos, todos, client} = startWithTodos();
  const Own = Todos.extend({modelId: ({id}) => (id === 10 ? fail('of modelId') : id)});
  const other = new Own();
  other.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Eggs', done: false}]);
  client.push('todo', ...manyCreated(10, 11), updated(8, 2, {title: 'Later'}));
  assert.deepEqual([ids(todos), ids(other), other.get(2).get('title')], [[1, 2, 10, 11], [1, 2, 11], 'Later']);
});

// Answers
// -------

for (const isList of [false, true]) {
  test(`a push keeps an edit of a ${isList ? 'list\'s model' : 'model'} whose handler has thrown when the last answer was set`, () => {
    const {Todo, Todos, client} = start();
    const Parsed = Todo.extend({parse: record => ({...record, upper: String(record?.title).toUpperCase()})});
    const model = isList ? null : new Parsed({id: 1});
    const target = model ?? new (Todos.extend({model: Parsed}))();
    const read = (offset, title) => {
      const record = {id: 1, title, done: false};
      target.fetch();
      client.read(isList ? 'todo' : 'todo/1', offset, isList ? [record] : record);
      return model ?? target.get(1);
    };
    const read1 = read(5, 'Milk');
    read1.once('change:title', () => fail('of a change'));
    assert.equal(read(6, 'Bread'), read1);
    read1.set('title', 'my edit');
    client.push(isList ? 'todo' : 'todo/1', updated(7, 1, {done: true}));
    assert.deepEqual([read1.get('title'), read1.get('done'), errors], ['my edit', true, ['of a change']]);
  });
}

test('a get that throws does not keep an answer from the page, or the list from being live', () => {
  const {todos, client} = startWithTodos();
  todos.get(1).save({title: 'Bread'});
  const [save] = client.requests.slice(-1);
  const xhr = todos.fetch();
  todos.get = () => fail('of get');
  client.read('todo', 6, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Eggs', done: true}]);
  delete todos.get;
  assert.notEqual(xhr.state(), 'pending');
  client.wrote('todo/1', 7, {id: 1, title: 'Bread', done: false}, save);
  client.push('todo', created(8, {id: 3}), destroyed(9, 2));
  assert.deepEqual(ids(todos), [1, 3]);
});

test('a getter of idAttribute that throws loses no save that waits for a create', () => {
  const {Todo, client} = start();
  let isFailing = false;
  const Own = Todo.extend({});
  Object.defineProperty(Own.prototype, 'idAttribute', {get: () => (isFailing ? fail('of idAttribute') : 'id')});
  const model = new Own();
  model.save({title: 'Milk'});
  const [create] = client.requests;
  model.save({title: 'Bread'});
  isFailing = true;
  client.wrote('todo/7', 6, {id: 7, title: 'Milk'}, create);
  assert.deepEqual(client.asked, ['POST /todo', 'PATCH /todo/7']);
  assert.deepEqual(client.last.body, {title: 'Bread'});
});

test('a url function that returns a lone percent sign does not keep a save from being sent', () => {
  const {Todo, client} = start();
  const model = new (Todo.extend({url: () => '/todo/50%'}))({id: '50%'});
  model.save({title: 'Milk'});
  assert.deepEqual([client.asked, client.last.body], [['PUT /todo/50%'], {id: '50%', title: 'Milk'}]);
});

// Handlers that stop lists
// ------------------------

test('a handler that stops its list during a burst gets no further change of it', () => {
  const {Backwire, Todos, todos, client} = startWithTodos();
  const other = new Todos();
  other.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Eggs', done: false}]);
  todos.on('change', () => Backwire.stop(todos));
  client.push('todo', updated(6, 1, {title: 'Bread'}), updated(7, 2, {title: 'Butter'}), created(8, {id: 3, title: 'Oats'}), destroyed(9, 1));
  assert.deepEqual(todos.map(({id, attributes}) => [id, attributes.title]), [[1, 'Bread'], [2, 'Eggs']]);
  assert.deepEqual(other.map(({id, attributes}) => [id, attributes.title]), [[2, 'Butter'], [3, 'Oats']]);
});

test('a handler that uninstalls Backwire during a burst gets no further change', () => {
  const {Backwire, todos, client} = startWithTodos();
  todos.on('change', () => Backwire.uninstall());
  client.push('todo', updated(6, 1, {title: 'Bread'}), updated(7, 2, {title: 'Butter'}), created(8, {id: 3}), destroyed(9, 1));
  assert.deepEqual(todos.map(({id, attributes}) => [id, attributes.title]), [[1, 'Bread'], [2, 'Eggs']]);
  assert.deepEqual(errors, []);
});

// Events of Backwire
// ------------------

test('a handler of any event of Backwire that throws does not keep it from uninstalling and installing', () => {
  const {Backbone, Backwire, client, clients, originalSync} = start();
  Backwire.on('all', name => fail(`of ${name}`));
  client.tell('online');
  assert.deepEqual([Backwire.status.state, errors], ['online', ['of status']]);
  Backwire.connect({identity: 'ann'});
  assert.deepEqual([clients.length, Backwire.error], [2, null]);
  clients[1].tell('online');
  assert.equal(Backwire.status.state, 'online');
  Backwire.uninstall();
  assert.equal(Backwire.status.state, 'offline');
  assert.equal(Backbone.sync, originalSync);
});

test('a handler of backwire:saved that throws does not keep Backwire from firing saved', () => {
  const {Backwire, Todo, client} = start();
  const model = new Todo({id: 1});
  const saved = [];
  Backwire.on('saved', about => saved.push(about.model === model));
  model.on('backwire:saved', () => fail('of a model'));
  client.tell('offline');
  model.save({title: 'Milk'});
  return Promise.resolve().then(() => {
    client.tell('online');
    client.wrote('todo/1', 6, {id: 1, title: 'Milk'});
    assert.deepEqual([saved, errors], [[true], ['of a model']]);
  });
});

// Listeners of Backwire itself
// ----------------------------

// A page with `<backwire-status>`. Returns what the element shows.
function startWithBadge() {
  const page = fakePage();
  let Badge;
  page.customElements = {get: () => undefined, define: (name, Element) => { Badge = Element; }};
  page.HTMLElement = class {
    attachShadow() { return this.shadowRoot = {querySelector: () => this.text = {}}; }
    setAttribute(name, value) { this[name] = value; }
    getAttribute(name) { return this[name] ?? null; }
    toggleAttribute() {}
  };
  const all = start({page});
  const badge = Object.assign(new Badge(), {isConnected: true});
  badge.connectedCallback();
  return {...all, badge};
}

test('a handler of status that throws or is removed does not keep <backwire-status> from being updated', () => {
  const {Backwire, client, badge} = startWithBadge();
  Backwire.on('status', () => fail('of status'));
  client.tell('online');
  assert.deepEqual([badge.state, badge.text.textContent, errors], ['online', 'Online', ['of status']]);
  Backwire.off();
  client.tell('offline');
  assert.equal(badge.state, 'offline');
  badge.disconnectedCallback();
  client.tell('online');
  assert.equal(badge.state, 'offline');
});

test('two elements <backwire-status> are updated if the first one throws', () => {
  const {badge, client} = startWithBadge();
  const other = Object.assign(new badge.constructor(), {isConnected: true});
  other.connectedCallback();
  badge.setAttribute = () => fail('of an element');
  client.tell('online');
  assert.deepEqual([other.state, errors], ['online', ['of an element']]);
});

test('a handler of a new id that throws does not keep Backwire from removing a second model of the record', () => {
  const {todos, client} = startWithTodos();
  const model = todos.add({title: 'Oats'});
  model.on('change:id', () => fail('of an id'));
  client.push('todo', created(6, {id: 3, title: 'Oats'}));
  assert.equal(todos.length, 4);
  assert.throws(() => model.set('id', 3), /of an id/);
  assert.deepEqual([todos.length, todos.get(3) === model], [3, true]);
});

test('a call of a page without jQuery that throws does not keep later calls from a part that is being loaded', () => {
  const {loadPart, load} = lateParts('extra');
  const {Todo, client} = start({loadPart, ajax: null});
  new Todo({id: 1}).fetch({beforeSend: () => fail('of beforeSend')});
  new Todo({id: 2}).fetch();
  assert.deepEqual(client.asked, []);
  load('extra');
  assert.deepEqual([client.asked, errors], [['GET /todo/2'], ['of beforeSend']]);
});

test('auth that is no JSON does not keep answers from the page that have waited for a part', () => {
  const {loadPart, load} = lateParts('live');
  const {Todo, client} = start({loadPart, auth: {n: BigInt(1)}});
  const model = new Todo({id: 1});
  model.fetch();
  client.listener.authenticate();
  client.read('todo/1', 5, {id: 1, title: 'Milk'});
  load('live');
  assert.equal(model.get('title'), 'Milk');
  assert.equal(errors.length, 1);
});

// Random pages
// ------------

// Runs a calm page. `throws(random)` decides for each call of the page's handlers whether it throws
// after it has acted; `act` is called with the target of an event.
function run(seed, {throws = () => false, act = () => {}, prepare = () => {}, makeModel} = {}) {
  const all = start();
  const random = randomOf(seed + 0.5);
  const page = new RandomPage(all, seed, {isCalm: true, makeModel});
  for (const target of page.targets.keys()) {
    target.on('all', name => {
      act(target, name, all, page);
      if (throws(random)) fail('of a handler');
    });
  }
  prepare(page);
  all.Backwire.on('all', () => { if (throws(random)) fail('of a handler'); });
  for (let frame = 0; frame < FRAMES; frame += 1) page.push((room, changes) => all.client.listener.deliver(room, changes));
  return {state: page.state(), page};
}

// The state without the names of the models and, for lists with a comparator, without the order.
function shown({state, page}) {
  const lists = [...page.targets].map(([target, name]) => {
    if (!target.models) return [name, state[name]];
    const records = state[name].map(([, attributes]) => JSON.stringify(attributes));
    return [name, target.comparator ? records.sort() : records];
  });
  return JSON.parse(JSON.stringify(lists));
}

test('random handlers that throw change nothing of what the page shows', () => {
  for (const seed of SEEDS) {
    const calm = shown(run(seed));
    const failing = shown(run(seed, {throws: random => random(6) === 0}));
    assert.deepEqual(failing, calm, `SEED=${seed}`);
    assert.deepEqual([...new Set(errors)].filter(message => message !== 'of a handler'), [], `SEED=${seed}`);
  }
  assert.ok(errors.length > SEEDS.length);
});

test('random comparators that throw change nothing but the order of their lists', () => {
  for (const seed of SEEDS) {
    const random = randomOf(seed + 0.125);
    const events = [];
    const results = [false, true].map(isFailing => run(seed, {
      prepare(page) {
        for (const [target, name] of page.targets) {
          const {comparator} = target;
          if (!target.models || !comparator) continue;
          target.on('all', event => { if (event !== 'sort') events[Number(isFailing)] = [...events[Number(isFailing)] ?? [], `${name} ${event}`]; });
          target.comparator = comparator.length === 2
            ? (one, other) => (isFailing && random(3) === 0 ? fail('of a comparator') : comparator(one, other))
            : model => (isFailing && random(3) === 0 ? fail('of a comparator') : typeof comparator === 'string' ? model.get(comparator) : comparator(model));
        }
      }
    }));
    assert.deepEqual(shown(results[1]), shown(results[0]), `SEED=${seed}`);
    assert.deepEqual(events[1], events[0], `SEED=${seed}`);
    assert.deepEqual([...new Set(errors)].filter(message => message !== 'of a comparator'), [], `SEED=${seed}`);
  }
  assert.ok(errors.length > SEEDS.length);
});

test('a random parse that throws for some records changes nothing of the others', () => {
  const makeModel = isFailing => Todo => Todo.extend({
    parse(record) {
      if (isFailing && record.id % 3 === 0) fail('of parse');
      return Todo.prototype.parse.call(this, record);
    }
  });
  const others = list => list.map(([name, records]) => [name, Array.isArray(records) && records.filter(text => JSON.parse(text).id % 3)]);
  for (const seed of SEEDS) {
    // The first answer to a read is set by Backbone itself, so nothing may throw there.
    let isFailing = false;
    const makeFailing = Todo => Todo.extend({
      parse(record) { return isFailing && record.id % 3 === 0 ? fail('of parse') : Todo.prototype.parse.call(this, record); }
    });
    const calm = others(shown(run(seed, {makeModel: makeModel(false)})));
    const all = start();
    const page = new RandomPage(all, seed, {isCalm: true, makeModel: makeFailing});
    isFailing = true;
    for (let frame = 0; frame < FRAMES; frame += 1) page.push((room, changes) => all.client.listener.deliver(room, changes));
    assert.deepEqual(others(shown({state: page.state(), page})), calm, `SEED=${seed}`);
  }
  assert.deepEqual([...new Set(errors)], ['of parse']);
});

test('a list that a random handler stops does not change after that, and the others are as without it', () => {
  for (const seed of SEEDS) {
    const calm = shown(run(seed));
    const decide = randomOf(seed + 0.25);
    let stopped = null;
    // Backbone sorts a list at the end.
    const state = target => target.models.map(({attributes}) => JSON.stringify(attributes)).sort();
    const result = run(seed, {
      act(target, name, {Backwire}, page) {
        if (stopped || !target.models || !name.startsWith('change') || decide(4)) return;
        stopped = {target, name: page.targets.get(target)};
        Backwire.stop(target);
        stopped.state = state(target);
      }
    });
    const after = shown(result);
    if (stopped) assert.deepEqual(state(stopped.target), stopped.state, `SEED=${seed}: ${stopped.name} was stopped`);
    assert.deepEqual(after.filter(([name]) => name !== stopped?.name), calm.filter(([name]) => name !== stopped?.name), `SEED=${seed}`);
  }
});

test('a page in which a random handler uninstalls Backwire does not change after that', () => {
  for (const seed of SEEDS) {
    const decide = randomOf(seed + 0.75);
    let atEnd = null;
    const state = page => shown({state: page.state(), page});
    const {page} = run(seed, {
      act(target, name, {Backwire}, page) {
        if (atEnd || !name.startsWith('change') || decide(6)) return;
        Backwire.uninstall();
        atEnd = state(page);
      }
    });
    if (atEnd) assert.deepEqual(state(page), atEnd, `SEED=${seed}`);
  }
  assert.deepEqual(errors, []);
});
