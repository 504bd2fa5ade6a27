// One connection for several tabs, with the real core
// ---------------------------------------------------

import assert from 'node:assert/strict';
import {afterEach, beforeEach, mock, test} from 'node:test';

import {FakeBrowser} from '../fakes/browser.js';
import {loadAtOnce, start} from '../fakes/page.js';
import {FakeServer} from '../fakes/server.js';
import {makeCore} from '../src/wasm.js';

const settle = () => new Promise(resolve => { setImmediate(resolve); });

beforeEach(() => mock.timers.enable({apis: ['setTimeout', 'setInterval', 'Date']}));
afterEach(() => mock.timers.reset());

// A browser, a server, and `until`, which lets both run.
function stage() {
  const server = new FakeServer();
  const browser = new FakeBrowser(server);
  const tabs = [];
  const open = options => {
    const tab = browser.open(page => start({page, makeClient: makeCore(loadAtOnce).makeClient, shared: true, ...options}));
    Object.assign(tab, tab.result);
    tabs.push(tab);
    return tab;
  };
  const step = async (random = () => 0) => {
    while (server.step(random)) await settle();
    mock.timers.tick(50);
    await settle();
  };
  const until = async (isDone, what = `${isDone}`, limit = 600) => {
    for (let count = 0; !isDone(); count += 1) {
      if (count > limit) assert.fail(`never: ${what}`);
      await step();
    }
  };
  const isOnline = tab => tab.Backwire.status.state === 'online';
  const online = () => until(() => tabs.every(tab => tab.isClosed || tab.isFrozen || isOnline(tab)), 'all tabs are online');
  return {server, browser, tabs, open, step, until, online, isOnline};
}

// A collection that the tab has read, and the titles that it shows.
const read = (tab, url = '/todo') => tab.run(() => {
  const todos = Object.assign(new tab.Todos(), {url});
  todos.fetch();
  return todos;
});
const titles = todos => todos.pluck('title');
const add = (tab, title) => tab.run(() => new tab.Todo({title}).save());

test('tabs of a browser have one connection, and each gets the changes of the others', async () => {
  const {server, open, online, until} = stage();
  const all = [open(), open(), open()];
  await online();
  assert.equal(server.connections.size, 1);
  const lists = all.map(tab => read(tab));
  add(all[2], 'Milk');
  await until(() => lists.every(list => titles(list).join() === 'Milk'), 'all tabs show the new record');
  assert.equal(server.connections.size, 1);
});

test('tabs of other users have connections of their own', async () => {
  const {server, open, online} = stage();
  open({identity: 'ann'});
  open({identity: 'bob'});
  open({identity: 'bob'});
  await online();
  assert.equal(server.connections.size, 2);
});

for (const [name, without] of [['Web Locks', page => { delete page.navigator.locks; }], ['BroadcastChannel', page => { delete page.BroadcastChannel; }]]) {
  test(`each tab has a connection without ${name}`, async () => {
    const {server, browser, tabs, online} = stage();
    for (let count = 0; count < 2; count += 1) {
      const tab = browser.open(page => {
        without(page);
        return start({page, makeClient: makeCore(loadAtOnce).makeClient, shared: true});
      });
      tabs.push(Object.assign(tab, tab.result));
    }
    await online();
    assert.equal(server.connections.size, 2);
  });
}

test('each tab has a connection if the part cannot be loaded, by default, and for a site', async () => {
  for (const options of [{loadPart: (name, callback) => (name === 'shared' ? callback(null) : loadAtOnce(name, callback))}, {shared: false}, {site: 'shop'}]) {
    const {server, open, online} = stage();
    open(options);
    open(options);
    await online();
    assert.equal(server.connections.size, 2);
  }
});

test('a tab without permission for locks has a connection of its own', async () => {
  const {server, browser, tabs, online} = stage();
  const tab = browser.open(page => {
    page.navigator.locks.request = () => Promise.reject(new DOMException('denied', 'SecurityError'));
    return start({page, makeClient: makeCore(loadAtOnce).makeClient, shared: true});
  });
  tabs.push(Object.assign(tab, tab.result));
  await online();
  assert.equal(server.connections.size, 1);
});

for (const how of ['close', 'crash', 'freeze']) {
  test(`another tab leads after a ${how} of the leader, and each write is committed once`, async () => {
    const {server, open, online, until} = stage();
    const leader = open();
    await online();
    const others = [open(), open()];
    await online();
    const lists = others.map(tab => read(tab));
    await until(() => server.connections.size === 1 && lists.every(list => list.length === 0));
    add(others[0], 'Milk');
    await settle();
    // The write is with the leader, or at the server without an answer.
    leader[how]();
    add(others[1], 'Eggs');
    await until(() => lists.every(list => titles(list).sort().join() === 'Eggs,Milk'), 'both writes are shown');
    assert.deepEqual([...server.commits.values()], [1, 1]);
    leader.thaw();
    const list = how === 'freeze' && read(leader);
    await online();
    await until(() => server.connections.size === 1, 'the former leader has no connection');
    if (list) await until(() => titles(list).sort().join() === 'Eggs,Milk', 'the former leader goes on');
    assert.deepEqual([...server.commits.values()], [1, 1]);
  });
}

test('a former leader does not send the writes that it got before it was frozen', async () => {
  const {server, open, online, until} = stage();
  const leader = open();
  await online();
  const other = open();
  await online();
  leader.freeze();
  add(other, 'Milk');
  await until(() => server.log.length === 1, 'the write is committed');
  const [former] = server.connections.keys();
  const before = server.connections.get(former).up.length;
  const frames = [];
  const {received} = server;
  server.received = (socket, frame) => {
    if (socket === former) frames.push(frame);
    received.call(server, socket, frame);
  };
  leader.thaw();
  await settle();
  await online();
  assert.deepEqual([before, frames.filter(frame => frame.includes('post'))], [0, []]);
  assert.equal(server.connections.has(former), false);
});

test('a former leader that gets no messages ends because its lock was stolen', async () => {
  const {server, open, online, until} = stage();
  const leader = open();
  await online();
  const [former] = server.connections.keys();
  const other = open();
  await online();
  leader.isDeaf = true;
  leader.freeze();
  add(other, 'Milk');
  await until(() => server.log.length === 1, 'the write is committed');
  leader.thaw();
  await settle();
  assert.deepEqual([server.connections.has(former), server.connections.size], [false, 1]);
});

test('a leader ends if another tab leads with a higher number, and leads again with one above that', async () => {
  const {server, browser, open, online, until} = stage();
  const leader = open();
  await online();
  const [former] = server.connections.keys();
  const {name} = [...browser.channels].find(({name: it}) => it.endsWith(' '));
  const other = new leader.page.BroadcastChannel(name);
  const heard = [];
  other.onmessage = ({data}) => heard.push(data);
  other.postMessage([1e12, Date.now(), 'lead']);
  await until(() => !server.connections.has(former), 'the connection is closed');
  await online();
  assert.deepEqual(heard.filter(([, , type]) => type === 'lead').map(([term]) => term), [1e12 + 1]);
});

test('a room is left when the last tab leaves it', async () => {
  const {server, open, online, until} = stage();
  const all = [open(), open(), open()];
  await online();
  const lists = all.map(tab => read(tab));
  const [{rooms}] = server.connections.values();
  await until(() => rooms.has('todo') && all.every(tab => tab.Backwire.status.unsent === 0), 'joined');
  await online();
  all[1].run(() => all[1].Backwire.stop(lists[1]));
  for (let count = 0; count < 5; count += 1) await online();
  assert.ok(rooms.has('todo'));
  all[0].run(() => all[0].Backwire.stop(lists[0]));
  all[2].crash();
  await until(() => !rooms.has('todo'), 'the room is left');
});

test('a new connection is made for all tabs when one of them disconnects and connects', async () => {
  const {server, open, online, until} = stage();
  open();
  await online();
  const other = open();
  await online();
  const [first] = server.connections.keys();
  mock.timers.tick(1);
  other.run(() => other.Backwire.disconnect().connect());
  await until(() => !server.connections.has(first), 'the old connection is closed');
  await online();
  assert.equal(server.connections.size, 1);
});

test('a tab that is left and shown again does not end the connection of the others', async () => {
  const {server, open, online, step} = stage();
  const tab = open();
  await online();
  const other = open();
  await online();
  const [first] = server.connections.keys();
  mock.timers.tick(1);
  other.run(() => other.page.fire('pagehide'));
  await step();
  other.run(() => other.page.fire('pageshow'));
  await online();
  for (let count = 0; count < 20; count += 1) await step();
  assert.deepEqual([...server.connections.keys()], [first]);
  assert.equal(tab.Backwire.status.state, 'online');
});
