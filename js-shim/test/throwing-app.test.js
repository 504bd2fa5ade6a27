// Functions of an app that throw, as in plain Backbone
// ----------------------------------------------------
//
// A random app gives Backbone and jQuery functions: `parse`, `url`, `validate`, `comparator`,
// `modelId`, `toJSON`, a getter of `idAttribute`, prefilters, factories of XMLHttpRequests and
// callbacks. One of them throws during a call, or during its answer. The app must see what it sees
// with plain Backbone over jQuery, and be live after that.
//
// `SEED=7 node --test …` runs one app, and `RUNS=1000` runs more of them.

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {created, destroyed, queryOf, updated} from '../fakes/client.js';
import {reportedErrors} from '../fakes/errors.js';
import {realJquery} from '../fakes/jquery.js';
import {freshBackbone, oldBackbone, start} from '../fakes/page.js';
import {randomOf} from '../fakes/pushes.js';
import {seedsOf} from '../fakes/seeds.js';

const SEEDS = seedsOf(150);
const ROUNDS = 8;

const errors = reportedErrors();

// The server
// ----------

class Server {
  constructor(records) {
    this.records = new Map(records.map(record => [record.id, record]));
    this.offset = 5;
    this.lastId = records.length;
  }

  put(id, data) {
    return this._write(id, {...this.records.get(id), ...data}, 200);
  }

  // Returns the answer to a request: its status and body, and the room or the record.
  serve(method, path, sent) {
    const id = Number(path.split('/')[2] ?? 0);
    if (method === 'GET' && !id) return {status: 200, body: [...this.records.values()], room: 'todo'};
    if (method === 'GET') return this._known(id, record => ({status: 200, body: record, room: `todo/${id}`}));
    if (method === 'POST') return this._write(this.lastId += 1, sent, 201);
    if (method === 'DELETE') return this._known(id, record => {
      this.records.delete(id);
      this.offset += 1;
      return {status: 200, body: record, record: `todo/${id}`};
    });
    return this._known(id, record => this._write(id, {...record, ...sent}, 200));
  }

  _known(id, then) {
    return this.records.has(id) ? then(this.records.get(id)) : {status: 404, body: {code: 'E_NOT_FOUND'}};
  }

  _write(id, attributes, status) {
    const body = {...attributes, id};
    this.records.set(id, body);
    this.offset += 1;
    return {status, body, record: `todo/${id}`};
  }
}

// The app
// -------

const PARTS = {
  model: ['url', 'parse', 'validate', 'toJSON', 'idAttribute'],
  list: ['list url', 'list parse', 'comparator', 'modelId'],
  options: ['beforeSend', 'success', 'error', 'complete', 'xhr', 'dataFilter'],
  page: ['prefilter']
};
const ALL = Object.values(PARTS).flat();

// One of both apps. `features` are the functions that it gives.
class App {
  constructor(Backbone, $, features, server) {
    Object.assign(this, {Backbone, $, features, server, seen: [], armed: null});
    const app = this;
    const of = name => features.includes(name);
    const trip = name => { if (this.armed === name) throw new Error(`of ${name}`); };
    const has = (name, make) => (of(name) ? make() : {});
    const Model = Backbone.Model.extend({
      urlRoot: '/todo',
      ...has('url', () => ({url(...args) { trip('url'); return Backbone.Model.prototype.url.apply(this, args); }})),
      ...has('parse', () => ({parse(record) { trip('parse'); return {...record, upper: String(record?.title).toUpperCase()}; }})),
      ...has('validate', () => ({validate({title}) { trip('validate'); return title === 'invalid' ? 'is invalid' : undefined; }})),
      ...has('toJSON', () => ({toJSON() { trip('toJSON'); const {upper, ...rest} = this.attributes; return rest; }}))
    });
    if (of('idAttribute')) Object.defineProperty(Model.prototype, 'idAttribute', {get() { trip('idAttribute'); return 'id'; }});
    const Todos = Backbone.Collection.extend({
      model: Model, url: '/todo',
      ...has('list url', () => ({url() { trip('list url'); return '/todo'; }})),
      ...has('list parse', () => ({parse(list) { trip('list parse'); return list; }})),
      ...has('modelId', () => ({modelId(attributes) { trip('modelId'); return attributes.id; }})),
      ...has('comparator', () => ({comparator(model) { trip('comparator'); return String(model.get('title')); }}))
    });
    this.trip = trip;
    // The other list has none of the functions.
    this.other = new (Backbone.Collection.extend({url: '/todo'}))();
    if (of('prefilter')) $.ajaxPrefilter(() => trip('prefilter'));
    this.todos = new Todos();
    this.todos.on('all', (name, first, second, ...rest) => {
      if (![second, ...rest].some(it => it?.realtime)) app.note('event', name, app.named(first));
    });
  }

  note(...what) {
    this.seen.push(JSON.stringify(what));
  }

  named(it) {
    if (it?.attributes) return ['model', it.attributes];
    if (it?.models) return ['list', it.length];
    return it?.getResponseHeader ? ['xhr', it.status] : typeof it;
  }

  // Makes a call. The part `armed` throws meanwhile.
  call({what, index, attrs, options, armed}) {
    const sorted = this.todos.models.toSorted((one, other) => (one.attributes.id ?? 1e9) - (other.attributes.id ?? 1e9));
    const target = /create|fetchAll/.test(what) ? this.todos : sorted[index % sorted.length];
    if (!target) return;
    const settings = this._settings(options);
    this.armed = armed;
    try {
      const result = what === 'create' ? target.create(attrs, settings) : what === 'save' ? target.save(attrs, settings)
        : what === 'destroy' ? target.destroy(settings) : target.fetch(settings);
      this.note('returned', result === false ? false : typeof result);
    } catch (error) {
      this.note('threw', error.message);
    }
    this.armed = null;
    this.errors = errors.splice(0);
  }

  _settings(options) {
    const {isOverHttp, ...settings} = options;
    const of = name => this.features.includes(name);
    for (const name of ['success', 'error', 'complete']) settings[name] = (...args) => {
      this.note(name, args.length, this.named(args[0]));
      this.trip(name);
    };
    if (of('beforeSend')) settings.beforeSend = () => this.trip('beforeSend');
    if (of('dataFilter')) settings.dataFilter = text => { this.trip('dataFilter'); return text; };
    if (of('xhr') && isOverHttp) settings.xhr = () => { this.trip('xhr'); return new this.XMLHttpRequest(); };
    return settings;
  }

  // Answers all requests, while the part `armed` throws.
  answer(armed) {
    this.armed = armed;
    this.answerAll();
    this.armed = null;
    this.errors = errors.splice(0);
  }

  state(list = this.todos) {
    return sorted(list.map(({attributes}) => attributes));
  }

  // The other list shows the records of the server.
  checkOther(text) {
    assert.equal(this.state(this.other), sorted([...this.server.records.values()]), text);
  }
}

const sorted = records => JSON.stringify(records.sort((one, other) => one.id - other.id));

const pathOf = url => new URL(url, 'http://app.test/').pathname;

// Answers the requests of fake XMLHttpRequests.
function answerXhrs(requests, server, headersOf = () => ({})) {
  for (const xhr of requests.splice(0)) {
    const answer = server.serve(xhr.method.toUpperCase(), pathOf(xhr.url), xhr.body);
    xhr.answer(answer.status, answer.body, headersOf(answer));
  }
}

const UNDERSCORES = {'0.9.2': 'underscore-1.3', '0.9.9': 'underscore-1.4', '1.0.0': 'underscore-1.4', '1.1.2': 'underscore-1.6'};
const VERSIONS = ['1.6.1', ...Object.keys(UNDERSCORES)];
const backboneOf = (version, $) => (UNDERSCORES[version] ? oldBackbone(version, UNDERSCORES[version], $) : freshBackbone($));

function plainApp(version, features, records) {
  const {$, requests} = realJquery();
  const Backbone = backboneOf(version, $);
  const app = new App(Backbone, $, features, new Server(structuredClone(records)));
  app.XMLHttpRequest = $.ajaxSettings.xhr().constructor;
  app.answerAll = () => answerXhrs(requests, app.server);
  return app;
}

function liveApp(version, features, records) {
  const {$} = realJquery();
  const {Backbone, Backwire, client, page} = start({Backbone: backboneOf(version, $)});
  const app = new App(Backbone, $, features, new Server(structuredClone(records)));
  const {server} = app;
  Object.assign(app, {Backwire, client, XMLHttpRequest: page.XMLHttpRequest, ajax: Backbone.ajax});
  const headersOf = ({room, record, url}) => {
    if (!room && !record) return {};
    const position = {'backwire-position': `7:${server.offset}`};
    return room ? {...position, 'backwire-room': room, 'backwire-query': queryOf(room, url)} : {...position, 'backwire-record': record};
  };
  let answered = 0;
  app.answerAll = () => {
    while (client.requests.length > answered) {
      const request = client.requests[answered++];
      if (request.isWithdrawn || request.kind === 2) continue;
      const answer = server.serve(request.method.toUpperCase(), pathOf(request.url), structuredClone(request.body));
      client.answer(answer.status, structuredClone(answer.body), headersOf({...answer, url: request.url}), request);
    }
    answerXhrs(page.xhrs, server, answer => (answer.record ? headersOf(answer) : {}));
  };
  return app;
}

// Programs
// --------

const pick = (random, list) => list[random(list.length)];

function programOf(seed) {
  const random = randomOf(seed + 0.5);
  const features = ALL.filter(name => random(name === 'xhr' ? 6 : 3) === 0);
  const records = Array.from({length: 1 + random(4)}, (_, at) => ({id: at + 1, title: `t${random(5)}`, n: random(3)}));
  const calls = ['create', 'save', 'save', 'save', 'destroy', 'fetch', 'fetchAll', 'fetchAll'];
  const step = () => ({
    what: pick(random, calls), index: random(4), attrs: {title: pick(random, ['a', 'b', 'c', 'invalid'])},
    options: {...random(3) ? {} : {wait: true}, ...random(4) ? {} : {remove: false}, ...random(4) ? {} : {reset: true}, ...random(4) ? {} : {validate: true}, isOverHttp: random(2) === 0}
  });
  const rounds = Array.from({length: ROUNDS}, () => {
    const round = {...step(), isCalm: random(3) === 0};
    const part = pick(random, [...features, 'success', 'error', 'complete'].filter(name => name !== 'none'));
    return {...round, ...round.isCalm ? {} : random(2) ? {armed: part} : {armedAnswer: part}};
  });
  return {version: pick(random, VERSIONS), features, records, rounds};
}

// Runs a program on both sides, and compares what the apps have seen. An answer that was
// interrupted leaves Backbone's models half changed, and Backwire shows the rest of it. So neither
// the events of that answer nor the state after it are compared, and a reset begins anew.
function run(seed) {
  const {version, features, records, rounds} = programOf(seed);
  const sides = [plainApp, liveApp].map(make => make(version, features, records));
  const both = act => sides.map(side => {
    side.seen = [];
    act(side);
    return side.seen;
  });
  const same = (what, [plain, live]) => assert.deepEqual(live, plain, `SEED=${seed} ${version} ${features}: ${what}`);
  const calm = {what: 'fetchAll', options: {reset: true}};
  const align = () => {
    same('reset', both(side => { side.call(calm); side.answer(); }).map(seen => seen.filter(it => !/"request"/.test(it))));
    same('state', sides.map(side => side.state()));
  };
  align();
  const [, live] = sides;
  live.other.fetch();
  live.answer();
  for (const [number, round] of rounds.entries()) {
    const text = `${number}: ${JSON.stringify(round)}`;
    const calls = both(side => side.call(round));
    same(text, calls);
    const answers = both(side => side.answer(round.armedAnswer));
    const [plain, more] = sides.map(side => side.errors);
    // Backwire calls some functions where Backbone does not, and reports what these throw.
    assert.ok(more.length >= plain.length && plain.every(error => more.includes(error)), `SEED=${seed} ${text}: ${more} and not ${plain}`);
    live.checkOther(`SEED=${seed}: the other list after ${text}`);
    const hasThrown = plain.length > 0 || calls[0].some(it => it.startsWith('["threw"'));
    same(`answer of ${text}`, hasThrown ? answers.map(seen => seen.filter(it => !/^\["event"/.test(it))) : answers);
    if (hasThrown) align();
    else same(`state after ${text}`, sides.map(side => side.state()));
  }
  align();
  checkLive(seed, sides[1], randomOf(seed + 0.25));
}

// The live app is as it has to be: nothing waits, and each change of others arrives. A part that
// throws meanwhile loses at most the change of one model.
function checkLive(seed, app, random) {
  const {Backwire, Backbone, client, todos, server, features} = app;
  assert.deepEqual([Backwire.pending(), Backbone.ajax === app.ajax], [[], true], `SEED=${seed}`);
  for (const armed of [...features, null]) {
    const text = `SEED=${seed} ${features}: pushes while ${armed} throws`;
    app.call({what: 'fetchAll', options: {reset: true}});
    app.answer();
    app.armed = armed;
    for (let count = 3; count; count -= 1) client.push('todo', ...Array.from({length: 1 + random(5)}, () => change(server, random)));
    app.armed = null;
    const {length} = errors.splice(0);
    app.checkOther(text);
    if (!armed || !length || armed === 'comparator') assert.deepEqual(todos.map(({attributes}) => attributes.id).sort(), [...server.records.keys()].sort(), text);
    if (!armed) assert.equal(length, 0, text);
  }
}

// A change of somebody else.
function change(server, random) {
  const id = 1 + random(7);
  const isKnown = server.records.has(id);
  if (isKnown && random(4) === 0) {
    server.serve('DELETE', `/todo/${id}`);
    return destroyed(server.offset, id);
  }
  const data = {title: `t${random(5)}`};
  if (!isKnown) return created(server.offset + 1, server.put(id, {...data, n: 0}).body);
  server.put(id, data);
  return updated(server.offset, id, data);
}

test('an app whose functions throw sees the same with Backwire as with plain Backbone', () => {
  for (const seed of SEEDS) run(seed);
});
