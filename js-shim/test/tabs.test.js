// Two tabs with one store
// -----------------------

import assert from 'node:assert/strict';
import {afterEach, beforeEach, mock, test} from 'node:test';

import {FakeLocks} from '../fakes/locks.js';
import {fakePage, start} from '../fakes/page.js';

const settle = () => new Promise(resolve => { setImmediate(resolve); });

beforeEach(() => mock.timers.enable({apis: ['setTimeout']}));
afterEach(() => mock.timers.reset());

// Lets the time pass that a page waits for the locks of others.
async function wait() {
  mock.timers.tick(100);
  await settle();
}

// Opens pages of one origin. `close` ends a page as the browser does: its locks become free.
function browser() {
  const {localStorage} = fakePage();
  const locks = new FakeLocks();
  const open = () => {
    const requests = [];
    const page = {...fakePage(), localStorage, navigator: {locks: {request: (name, use) => {
      let end;
      const closed = new Promise(resolve => { end = resolve; });
      requests.push(end);
      return locks.request(name, lock => Promise.race([use(lock), closed]));
    }}}};
    return {...start({page}), close: () => requests.forEach(end => end())};
  };
  return {open, locks, localStorage};
}

const saveOffline = ({client, Todo}, title) => {
  client.tell('offline');
  new Todo({title}).save();
};

test('a page leaves the kept writes of an open page to it, and sends its own at once', async () => {
  const {open} = browser();
  const first = open();
  saveOffline(first, 'Milk');
  await settle();
  const second = open();
  saveOffline(second, 'Eggs');
  await settle();
  assert.deepEqual(second.client.asked, []);
  await wait();
  assert.deepEqual(second.client.requests.map(({body}) => body), [{title: 'Eggs'}]);
  first.client.wrote('todo/1', 1, {id: 1, title: 'Milk'});
  await settle();
  assert.deepEqual([first, second].map(({client}) => client.asked.length), [1, 1]);
});

test('a page sends the kept writes of another page when that is closed', async () => {
  const {open, locks, localStorage} = browser();
  const first = open();
  saveOffline(first, 'Milk');
  await settle();
  const [second, third] = [open(), open()];
  await wait();
  first.close();
  await settle();
  assert.deepEqual([second, third].map(({client}) => client.requests.map(({key, kind}) => [key, kind])), [[[`${first.client.session}-1`, 1]], []]);
  second.client.wrote('todo/1', 1, {id: 1, title: 'Milk'});
  await settle();
  assert.deepEqual([third.client.asked, Object.keys(localStorage), locks.held], [[], [], []]);
});

test('of two pages that begin together one sends the kept writes', async () => {
  const {open, locks} = browser();
  const former = open();
  saveOffline(former, 'Milk');
  saveOffline(former, 'Eggs');
  await settle();
  former.close();
  await settle();
  const tabs = [open(), open()];
  await settle();
  assert.deepEqual(tabs.map(({client}) => client.asked.length), [2, 0]);
  tabs[0].close();
  await settle();
  assert.deepEqual(tabs[1].client.asked.length, 2, 'the first page was closed before an answer');
  tabs[1].client.requests.forEach((request, index) => tabs[1].client.wrote(`todo/${index}`, index, {id: index}, request));
  await settle();
  assert.deepEqual(locks.held, []);
});

test('requests of a page wait until it has sent the kept writes that nobody else sends', async () => {
  const {open} = browser();
  const former = open();
  saveOffline(former, 'Milk');
  await settle();
  former.close();
  const {client, Todo} = open();
  new Todo({title: 'Eggs'}).save();
  await settle();
  assert.deepEqual(client.requests.map(({body}) => body.title), ['Milk', 'Eggs']);
});

test('a page without unanswered writes holds no lock, so that the browser may keep it in its cache', async () => {
  const {open, locks} = browser();
  const tab = open();
  saveOffline(tab, 'Milk');
  await settle();
  assert.equal(locks.held.length, 1);
  tab.client.tell('online');
  tab.client.wrote('todo/1', 1, {id: 1, title: 'Milk'});
  await settle();
  assert.deepEqual(locks.held, []);
});

test('the kept writes of an uninstalled Backwire are sent by the next one of the same page', async () => {
  const {open} = browser();
  const {Backbone, Backwire, clients, ...tab} = open();
  saveOffline(tab, 'Milk');
  await settle();
  Backwire.install(Backbone, {url: 'http://app.test'});
  await settle();
  assert.deepEqual(clients[1].asked, ['POST /todo']);
});
