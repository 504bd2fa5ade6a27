// Tokens and users
// ----------------

import assert from 'node:assert/strict';
import {afterEach, beforeEach, mock, test} from 'node:test';

import {fakePage, start} from '../fakes/page.js';
import {randomOf} from '../fakes/pushes.js';

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

test('a token and other auth are sent without a site', () => {
  const {Backwire, client} = start({token: 'abc', auth: {room: 'chat'}});
  assert.deepEqual([client.auth, client.calls], [undefined, ['connect']]);
  assert.deepEqual(client.join(), {room: 'chat', token: 'abc'});
  Backwire.connect({auth: {room: 'other'}});
  assert.deepEqual(client.join(), {room: 'other', token: 'abc'});
  assert.deepEqual(errors, []);
});

test('a page that was installed without auth sends the auth of connect on its next connection', async () => {
  const {Backwire, client, clients} = start();
  assert.equal(client.auth, '');
  Backwire.connect({token: 'abc', auth: {room: 'chat'}});
  assert.deepEqual([client.calls, client.sentAuth], [['connect', 'reconnect', 'connect'], {room: 'chat', token: 'abc'}]);
  Backwire.connect({token: async () => 'later'});
  clients[1].join();
  await settle();
  assert.deepEqual(clients[1].sentAuth, {token: 'later'});
});

test('the auth of a former user is not that of the next', () => {
  const {Backwire, clients} = start({auth: {room: 'of ann'}, identity: 'ann'});
  Backwire.connect({identity: 'bob', auth: {room: 'of bob'}});
  assert.deepEqual(clients[1].join(), {room: 'of bob'});
  Backwire.connect({identity: 'cy'});
  assert.equal(clients[2].auth, '');
});

// Tokens that expire
// ------------------

const expires = (client, seconds) => client.listener.deliver('', [[0, 0, null, ['backwire:expires', seconds], 0]]);

test('a token function is called half a minute before the server says that the token expires', async context => {
  mock.timers.enable({apis: ['setTimeout', 'Date']});
  context.after(() => mock.timers.reset());
  const {Backwire, client, calls, answer} = withFunction();
  let expired = 0;
  Backwire.on('expires', () => { expired += 1; });
  client.join();
  await answer('a');
  expires(client, 300);
  mock.timers.tick(269_999);
  assert.deepEqual([calls.length, expired], [1, 0]);
  mock.timers.tick(1);
  assert.deepEqual([calls.length, expired, client.calls], [2, 1, ['connect']]);
  await answer('b');
  assert.deepEqual(client.calls, ['connect', 'reconnect', 'connect']);
  client.join();
  await settle();
  assert.deepEqual([client.sentAuth.token, calls.length], ['b', 2]);
  // The new token lasts for ten seconds. It is refused, so another one is asked for.
  expires(client, 10);
  mock.timers.tick(5000);
  await answer('c');
  client.join();
  await settle();
  client.listener.refused('E_TOKEN: expired');
  await answer('d');
  client.join();
  await settle();
  assert.deepEqual([client.sentAuth.token, calls.length], ['d', 4]);
});

test('a page is not connected again for a token that is the same, late or of no use', async context => {
  mock.timers.enable({apis: ['setTimeout', 'Date']});
  context.after(() => mock.timers.reset());
  const {Backwire, client, calls, answer} = withFunction();
  client.join();
  await answer('a');
  expires(client, 100);
  mock.timers.tick(70_000);
  await answer('a');
  assert.deepEqual(client.calls, ['connect']);
  expires(client, 100);
  mock.timers.tick(70_000);
  // The connection was lost meanwhile.
  client.join();
  calls.at(-2).resolve('late');
  await answer('b');
  assert.deepEqual([client.calls, client.sentAuth.token], [['connect'], 'b']);
  expires(client, 100);
  Backwire.disconnect();
  mock.timers.tick(70_000);
  await answer('c');
  assert.deepEqual(client.calls, ['connect', 'disconnect']);
  expires(client, 100);
  const {length} = calls;
  Backwire.uninstall();
  mock.timers.tick(70_000);
  assert.equal(calls.length, length);
});

test('a page whose token is a text gets the event expires', context => {
  mock.timers.enable({apis: ['setTimeout', 'Date']});
  context.after(() => mock.timers.reset());
  const {Backwire, client} = start({site: 'shop', token: 'a'});
  let expired = 0;
  Backwire.on('expires', () => {
    expired += 1;
    Backwire.connect({token: 'b'});
  });
  client.join();
  expires(client, 300);
  mock.timers.tick(270_000);
  assert.deepEqual([expired, client.calls, client.join().token], [1, ['connect', 'reconnect', 'connect'], 'b']);
  assert.deepEqual(errors, []);
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
  assert.match(errors.join(), /token function.*signed out/);
});

// The results that a token function may have.
const NEVER = () => new Promise(() => {});
const RESULTS = [
  NEVER, () => { throw new Error('thrown'); }, () => Promise.reject(new Error('rejected')), () => { throw undefined; }, () => ({then() { throw new Error('of then'); }}),
  () => BigInt(1), () => undefined, () => null, () => 'old', () => Promise.resolve('old'), () => Promise.resolve('another')
];

test('a random token function ends no connection for good, and a good token is used after that', async context => {
  context.mock.timers.enable({apis: ['setTimeout']});
  for (let seed = 1; seed <= 60; seed += 1) {
    const random = randomOf(seed);
    let isGood = false;
    let last;
    const {Backwire, client} = start({site: 'shop', token: () => (isGood ? 'good' : (last = RESULTS[random(RESULTS.length)])())});
    const reconnects = () => client.calls.filter(call => call === 'reconnect').length;
    const join = async () => {
      const before = reconnects();
      last = null;
      client.join();
      await settle();
      // The token is sent, or the core tries again after a pause.
      assert.ok(client.sentAuth !== undefined || reconnects() > before || last === NEVER, `seed ${seed}`);
    };
    for (let step = 0; step < 12; step += 1) {
      const what = random(4);
      if (what < 2) await join();
      else if (what < 3) client.listener.refused('E_TOKEN: expired');
      else client.listener.deliver('', [[0, 0, '', ['backwire:expires', 60], 0]]);
      if (random(3)) await settle();
      if (random(3) === 0) context.mock.timers.tick(30000);
    }
    isGood = true;
    await settle();
    await join();
    if (client.sentAuth?.token !== 'good') {
      // A token that the function had returned before is used once.
      client.listener.refused('E_TOKEN: expired');
      await settle();
      Backwire.connect();
      await join();
    }
    assert.equal(client.sentAuth?.token, 'good', `seed ${seed}`);
    Backwire.uninstall();
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
