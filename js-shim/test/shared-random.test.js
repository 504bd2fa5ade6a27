// Random tabs with one connection
// -------------------------------
//
// Tabs are opened, closed and frozen; they read, write and leave; the connection breaks, and pushes
// are lost. In the end each tab shows what the server has. Each write was committed at most once,
// and exactly once if its tab was there until the end. `SEED=7 node --test …` runs one schedule,
// and `RUNS=1000` runs more of them.

import assert from 'node:assert/strict';
import {afterEach, beforeEach, mock, test} from 'node:test';

import {FakeBrowser} from '../fakes/browser.js';
import {loadAtOnce, start} from '../fakes/page.js';
import {seedsOf} from '../fakes/seeds.js';
import {FakeServer} from '../fakes/server.js';
import {makeCore} from '../src/wasm.js';

const SEEDS = seedsOf(25);
const STEPS = 150;
const MAX_TABS = 4;
const URLS = ['/todo', '/todo', '/todo?done=true'];

const settle = () => new Promise(resolve => { setImmediate(resolve); });

beforeEach(() => mock.timers.enable({apis: ['setTimeout', 'setInterval', 'Date']}));
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

// Numbers below a bound, by a linear congruential generator.
function randomOf(seed) {
  let state = seed * 2654435761 % 2 ** 32;
  return bound => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return Math.floor(state / 2 ** 32 * bound);
  };
}

class Run {
  constructor(seed) {
    this.random = randomOf(seed);
    this.server = new FakeServer();
    this.server.isLosing = () => this.random(40) === 0;
    this.browser = new FakeBrowser(this.server);
    this.tabs = [];
    // The tabs and titles of all writes.
    this.writes = [];
    this.acts = [];
    for (const data of [{title: 'a'}, {title: 'b', done: true}]) this.server.write('post', {data});
  }

  pick(list) {
    return list[this.random(list.length)];
  }

  // One random act. A step of a tab needs a tab that runs.
  act() {
    const awake = this.tabs.filter(tab => !tab.isFrozen && !tab.isClosed);
    const tab = this.pick(awake);
    const acts = ['read', 'read', 'record', 'write', 'write', 'write', 'create', 'create', 'destroy', 'stop', 'foreign', 'foreign', 'foreign', 'time', 'time', 'time'];
    const rare = ['open', 'open', 'close', 'crash', 'freeze', 'thaw', 'drop', 'reconnect', 'announce', 'ping'];
    const act = this.random(8) ? this.pick(acts) : this.pick(rare);
    if (!tab && !['open', 'thaw', 'foreign', 'time'].includes(act)) return this.open();
    this.acts.push(act);
    this[act](tab);
  }

  open() {
    if (this.tabs.filter(tab => !tab.isClosed).length >= MAX_TABS) return;
    const tab = this.browser.open(page => start({page, makeClient: makeCore(loadAtOnce).makeClient, shared: true, url: 'http://app.test'}));
    this.tabs.push(Object.assign(tab, tab.result, {lists: [], records: [], failed: new Set()}));
  }

  close(tab) { tab.close(); }

  crash(tab) { tab.crash(); }

  freeze(tab) { tab.freeze(); }

  thaw() { this.pick(this.tabs.filter(tab => tab.isFrozen))?.thaw(); }

  drop() { this.server.drop(); }

  reconnect(tab) { tab.run(() => tab.page.fire('offline')); }

  announce() { this.server.announce(); }

  ping() { this.server.ping(); }

  time() { mock.timers.tick(this.random(4) ? this.random(300) : this.random(8000)); }

  read(tab) {
    tab.run(() => {
      const list = this.random(2) && this.pick(tab.lists) || Object.assign(new tab.Todos(), {url: this.pick(URLS)});
      if (!tab.lists.includes(list)) tab.lists.push(list);
      this.fetch(tab, list);
    });
  }

  record(tab) {
    tab.run(() => {
      const record = this.random(2) && this.pick(tab.records) || new tab.Todo({id: this.pick([...this.server.records.keys(), 1])});
      if (!tab.records.includes(record)) tab.records.push(record);
      this.fetch(tab, record);
    });
  }

  // A read fails if there is no connection for three seconds, because nothing is served over HTTP
  // here. It is repeated in the end.
  fetch(tab, target) {
    tab.failed.delete(target);
    target.fetch({error: (_, {status}) => status === 0 && tab.failed.add(target)});
  }

  stop(tab) {
    for (const held of [tab.lists, tab.records]) {
      const target = this.random(2) && this.pick(held);
      if (!target) continue;
      held.splice(held.indexOf(target), 1);
      tab.run(() => tab.Backwire.stop(target));
    }
  }

  create(tab) {
    const title = `n${this.writes.length}`;
    this.writes.push({tab, title});
    tab.run(() => new tab.Todo({title, done: this.random(2) > 0}).save());
  }

  write(tab) {
    tab.run(() => {
      const model = this.pick([...tab.records, ...tab.lists.flatMap(list => list.models)].filter(({id}) => id && this.server.records.has(id)));
      if (!model) return;
      if (this.random(2)) model.save({done: !model.get('done')}, {patch: true});
      else model.save({title: `w${this.random(1000)}`}, {patch: true});
    });
  }

  destroy(tab) {
    if (this.random(2)) return;
    tab.run(() => this.pick(tab.lists.flatMap(list => list.models).filter(model => !model.isNew()))?.destroy());
  }

  foreign() {
    const id = this.pick([...this.server.records.keys()]);
    const what = this.random(8);
    if (what === 0 || !id) this.server.write('post', {data: {title: 'f', done: this.random(2) > 0}});
    else if (what === 1) this.server.write('delete', {url: `/todo/${id}`});
    else this.server.write('patch', {url: `/todo/${id}`, data: this.random(2) ? {done: this.random(2) > 0} : {title: `f${this.random(1000)}`}});
  }

  // Some steps of the server.
  async go(count = this.random(12)) {
    for (let at = 0; at < count && this.server.step(this.random); at += 1) if (!this.random(3)) await settle();
    await settle();
  }

  // Lets everything end: without faults, and with all tabs running.
  async quiet() {
    this.server.isLosing = null;
    for (const tab of this.tabs) if (tab.isFrozen) tab.thaw();
    await this._wait(200);
    for (const tab of this.tabs) if (!tab.isClosed) tab.run(() => tab.failed.forEach(target => this.fetch(tab, target)));
    await this._wait(50);
    // No reconnect and no read comes after these changes, so they have to arrive as pushes.
    for (const id of [...this.server.records.keys()]) this.server.write('patch', {url: `/todo/${id}`, data: {title: `last ${id}`}});
    await this._wait(20);
  }

  async _wait(count) {
    for (; count; count -= 1) {
      while (this.server.step(this.random)) await settle();
      this.server.announce();
      mock.timers.tick(100);
      await settle();
    }
  }

  check() {
    const open = this.tabs.filter(tab => !tab.isClosed);
    assert.deepEqual(open.map(tab => tab.Backwire.status), open.map(() => ({state: 'online', unsent: 0})));
    assert.equal(this.server.connections.size, Math.min(open.length, 1), 'connections');
    assert.ok([...this.server.commits.values()].every(count => count === 1), 'a write was repeated');
    const isThere = title => this.server.log.filter(({verb, data}) => verb === 1 && data.title === title).length;
    for (const {tab, title} of this.writes) assert.ok(isThere(title) === 1 || tab.isClosed && isThere(title) === 0, `the create ${title}`);
    for (const tab of open) this._checkTab(tab);
  }

  _checkTab({lists, records}) {
    const all = [...this.server.records.values()];
    const sorted = list => [...list].sort((a, b) => a.id - b.id);
    for (const list of lists) {
      const expected = list.url === '/todo' ? all : all.filter(({done}) => done);
      assert.deepEqual(sorted(list.toJSON()), sorted(expected), `the list ${list.url}`);
    }
    for (const record of records) {
      const expected = this.server.records.get(record.id);
      if (expected) assert.deepEqual(record.toJSON(), expected, `the record ${record.id}`);
    }
  }
}

for (const seed of SEEDS) {
  test(`tabs with one connection agree with the server: seed ${seed}`, async () => {
    const run = new Run(seed);
    mock.method(crypto, 'getRandomValues', array => array.map(() => run.random(2 ** 32)).forEach((value, at) => { array[at] = value; }) ?? array);
    run.open();
    for (let step = 0; step < STEPS; step += 1) {
      run.act();
      await run.go();
    }
    await run.quiet();
    run.check();
  });
}
