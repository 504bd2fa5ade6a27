// Tokens and users
// ----------------

import assert from 'node:assert/strict';
import {afterEach, beforeEach, mock, test} from 'node:test';

import {fakePage, start} from '../fakes/page.js';

const settle = () => new Promise(resolve => { setImmediate(resolve); });
const errors = [];

beforeEach(() => {
  mock.method(console, 'error', (...text) => errors.push(text.join(' ')));
});

afterEach(() => {
  errors.length = 0;
  mock.restoreAll();
});

// An installation with a token function. `answer(token)` answers its last call.
function withFunction() {
  const calls = [];
  const token = reason => new Promise((resolve, reject) => calls.push({reason, resolve, reject}));
  const all = start({site: 'shop', token});
  const events = [];
  all.Backwire.on('refused unauthorized', about => events.push(about?.reason ?? 'unauthorized'));
  const answer = async text => {
    calls.at(-1).resolve(text);
    await settle();
  };
  return {...all, calls, events, answer};
}

test('connect replaces the token, on a new connection, for writes that wait as well', () => {
  const {Backwire, client} = start({site: 'shop', token: 'old'});
  assert.equal(client.join().token, 'old');
  Backwire.connect({token: 'new'});
  assert.deepEqual(client.calls, ['connect', 'reconnect', 'connect']);
  assert.equal(client.sentAuth, '', 'writes that were answered with 401');
  assert.equal(client.join().token, 'new');
});

test('a token without a site is reported, and the page connects', () => {
  const {client} = start({token: 'abc'});
  assert.deepEqual([client.auth, client.calls], ['', ['connect']]);
  assert.match(errors.join(), /`token` has no effect without `site`/);
});

test('a token function is called before each connection is joined', async () => {
  const {client, calls, answer} = withFunction();
  assert.equal(calls.length, 0);
  for (const token of ['a', 'b']) {
    assert.equal(client.join(), undefined);
    await answer(token);
    const {site, token: sent, deviceId} = client.sentAuth;
    assert.deepEqual([site, sent, deviceId.length], ['shop', token, 32]);
  }
  assert.deepEqual(calls.map(({reason}) => reason), [undefined, undefined]);
});

test('a token function may return the token itself', async () => {
  const {client} = start({site: 'shop', token: () => 'abc'});
  client.join();
  await settle();
  assert.equal(client.sentAuth.token, 'abc');
});

test('a token function that fails is called again after a pause', async () => {
  let isBroken = true;
  const {client} = start({site: 'shop', token() {
    if (isBroken) throw new Error('not signed in');
    return 'abc';
  }});
  client.join();
  await settle();
  assert.deepEqual(client.calls, ['connect', 'reconnect']);
  assert.match(errors.join(), /token function.*not signed in/);
  isBroken = false;
  client.join();
  await settle();
  assert.equal(client.sentAuth.token, 'abc');
});

test('an answer of the token function that comes after the next call is ignored', async () => {
  const {client, calls, answer} = withFunction();
  client.join();
  client.join();
  calls[0].resolve('late');
  await settle();
  assert.equal(client.sentAuth, undefined);
  calls[0].reject(new Error('ignored'));
  await answer('a');
  assert.equal(client.sentAuth.token, 'a');
  assert.deepEqual(client.calls, ['connect']);
});

test('a refused token is replaced once, if the page has another one', async () => {
  const {client, calls, events, answer} = withFunction();
  client.join();
  await answer('old');
  client.listener.refused('E_TOKEN: expired');
  assert.equal(calls.at(-1).reason, 'E_TOKEN: expired');
  await answer('new');
  assert.deepEqual([client.calls, events], [['connect', 'connect'], []]);
  client.join();
  await settle();
  assert.deepEqual([client.sentAuth.token, calls.length], ['new', 2]);
  client.listener.refused('E_TOKEN: expired');
  await settle();
  assert.deepEqual([events, calls.length, client.calls.length], [['E_TOKEN: expired'], 2, 2]);
  // Later the page connects again.
  client.join();
  await answer('third');
  client.listener.refused('E_TOKEN: expired');
  await answer('fourth');
  assert.equal(client.calls.length, 3);
});

test('a refused token is not sent again', async () => {
  for (const end of [({resolve}) => resolve('old'), ({reject}) => reject(new Error('signed out'))]) {
    const {client, calls, events, answer} = withFunction();
    client.join();
    await answer('old');
    client.listener.refused('E_TOKEN: expired');
    end(calls.at(-1));
    await settle();
    assert.deepEqual([events, client.calls], [['E_TOKEN: expired'], ['connect']]);
  }
});

test('other refusals do not ask for a token', async () => {
  const {client, calls, events} = withFunction();
  client.listener.refused('E_ORIGIN: not from here');
  await settle();
  assert.deepEqual([calls.length, events, client.calls], [0, ['E_ORIGIN: not from here'], ['connect']]);
});

test('a waiting write that is answered with 401 gets a new token, unless the last one is new', async context => {
  mock.timers.enable({apis: ['Date']});
  context.after(() => mock.timers.reset());
  const {client, events, answer} = withFunction();
  client.join();
  await answer('a');
  client.listener.unauthorized();
  assert.deepEqual([client.calls, events], [['connect'], ['unauthorized']]);
  mock.timers.tick(10000);
  client.listener.unauthorized();
  assert.deepEqual([client.calls, events.length], [['connect', 'reconnect', 'connect'], 2]);
});

test('connect as another user aborts the requests of the former one and keeps its writes', async () => {
  const page = fakePage();
  const {Backwire, Todo, client, clients} = start({page, site: 'shop', token: 'of ann', identity: 'ann'});
  client.tell('offline');
  let reason;
  new Todo({title: 'Milk'}).save({}, {error: (_, xhr) => { reason = xhr.statusText; }});
  Backwire.connect({identity: 'bob', token: 'of bob'});
  assert.equal(reason, 'abort');
  assert.deepEqual([clients[1].asked, clients[1].join().token], [[], 'of bob']);
  clients[1].tell('offline');
  new Todo({title: 'Eggs'}).save();
  Backwire.connect({identity: 'ann', token: 'of ann'});
  assert.deepEqual(clients[2].requests.map(({body}) => body), [{title: 'Milk'}]);
  assert.deepEqual(clients.map(({calls}) => calls[0]), ['connect', 'connect', 'connect']);
});

test('the token of a former user is not the one of the next', () => {
  const {Backwire, clients} = start({site: 'shop', token: 'of ann', identity: 'ann'});
  Backwire.connect({identity: 'bob'});
  assert.equal(clients[1].join().token, undefined);
});

test('a token function stays for the next user', async () => {
  const {Backwire, clients} = start({site: 'shop', token: () => 'of somebody', identity: 'ann'});
  Backwire.connect({identity: 'bob'});
  clients[1].join();
  await settle();
  assert.equal(clients[1].sentAuth.token, 'of somebody');
});

test('connect as the same user goes on', () => {
  const {Backwire, client, clients} = start({site: 'shop', token: 'a', identity: '7'});
  Backwire.connect({identity: 7, token: 'b'});
  assert.deepEqual([clients.length, client.join().token], [1, 'b']);
});
