// HTTP long-polling and the upgrade to a WebSocket
// -------------------------------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {FakeEngine} from '../fakes/engine.js';
import {Connections} from '../src/connections.js';
import {Polling} from '../src/polling.js';

const URL_OF_SOCKET = 'ws://app.test/socket.io/?EIO=4&transport=websocket';

// A page with a session that polls. `got` lists the packets that the core has, `closed` counts its
// close events.
function poll(context, {origin = 'http://app.test', fault, ...options} = {}) {
  context.mock.timers.enable({apis: ['setTimeout']});
  const engine = new FakeEngine(options);
  engine.page.location.origin = origin;
  if (fault) engine.faults.GET = fault;
  const connections = new Connections(engine.page, null);
  const connection = {}, got = [];
  const of = {engine, connections, connection, got, closed: 0, tick: ms => context.mock.timers.tick(ms)};
  connection.onmessage = ({data}) => got.push(data);
  connection.onclose = () => { of.closed += 1; };
  new Polling(connection, URL_OF_SOCKET, connections);
  return of;
}

const methods = ({log}) => log.map(([method]) => method);
const bodies = ({log}) => log.filter(([method]) => method === 'POST').map(([, , body]) => body.split('\x1e'));

test('a session opens, sends and receives, with one GET and one POST at a time', async context => {
  const {engine, connection, got} = poll(context);
  await engine.run();
  assert.match(got[0], /^0\{"sid":"abc"/);
  connection.send('40{}');
  await engine.run();
  assert.deepEqual(engine.received, ['40{}']);
  engine.send('2');
  await engine.run();
  engine.send('2');
  await engine.run();
  assert.deepEqual(got.slice(1), ['2', '2']);
  assert.deepEqual(methods(engine), ['GET', 'GET', 'POST', 'GET', 'GET']);
  const [[, first], [, second]] = engine.log;
  assert.equal(first, 'http://app.test/socket.io/?EIO=4&transport=polling&t=0');
  assert.equal(second, 'http://app.test/socket.io/?EIO=4&transport=polling&sid=abc&t=1');
  assert.deepEqual(engine.problems, []);
});

test('packets of one task are sent together, and later ones after the answer', async context => {
  const {engine, connection} = poll(context);
  await engine.run();
  for (const packet of ['1a', '1b']) connection.send(`4${packet}`);
  await engine.run(1);
  for (const packet of ['2a', '2b', '2c']) connection.send(`4${packet}`);
  await engine.run();
  assert.deepEqual(bodies(engine), [['41a', '41b'], ['42a', '42b', '42c']]);
});

test('a POST is at most as long as the server allows, in bytes', async context => {
  const {engine, connection} = poll(context, {maxPayload: 10});
  await engine.run();
  for (const packet of ['4234', '4234', '4é34', '4é34', '4', '4', '4234567890']) connection.send(packet);
  await engine.run();
  assert.deepEqual(bodies(engine), [['4234', '4234'], ['4é34'], ['4é34', '4', '4'], ['4234567890']]);
});

test('several packets of one answer arrive in order', async context => {
  const {engine, got} = poll(context);
  await engine.run();
  engine.waiting.push('2');
  engine.send('42["x"]');
  await engine.run();
  assert.deepEqual(got.slice(1), ['2', '42["x"]']);
});

for (const fault of ['lose', 'lose answer', 'error', 'page']) {
  test(`a first GET that fails by "${fault}" ends the session`, async context => {
    const of = poll(context, {fault});
    await of.engine.run();
    assert.deepEqual([of.closed, of.got, methods(of.engine)], [1, [], ['GET']]);
  });

  for (const method of ['GET', 'POST']) {
    test(`a later ${method} that fails by "${fault}" ends the session once, and nothing more is sent`, async context => {
      const of = poll(context);
      const {engine, connection} = of;
      await engine.run();
      engine.faults[method] = fault;
      if (method === 'GET') engine.send('2');
      else connection.send('41');
      await engine.run(method === 'GET' ? Infinity : 1);
      // The GET that waited has succeeded, and the next one fails.
      if (method === 'GET') engine.send('2');
      if (method === 'GET') await engine.run();
      connection.send('42');
      await engine.run();
      assert.deepEqual([of.closed, engine.state], [1, 'closed']);
      connection.send('43');
      await engine.run();
      assert.deepEqual(engine.received, method === 'POST' && fault === 'lose answer' ? ['41'] : []);
      assert.deepEqual(bodies(engine).flat().filter(it => it !== '1'), method === 'POST' ? ['41'] : []);
    });
  }
}

test('close sends what waits and tells the server, and the page is not told', async context => {
  const of = poll(context);
  const {engine, connection} = of;
  await engine.run();
  connection.send('41');
  await engine.run(1);
  connection.send('42');
  connection.close();
  connection.send('43');
  await engine.run();
  assert.deepEqual(engine.received, ['41', '42']);
  assert.deepEqual([engine.state, of.closed], ['closed', 0]);
  assert.deepEqual(engine.log.filter(([method]) => method === 'POST').map(it => Boolean(it[3].keepalive)), [false, true]);
});

test('close before the first answer stops the request', async context => {
  const of = poll(context);
  of.connection.close();
  await of.engine.run();
  assert.deepEqual([of.got, of.closed, methods(of.engine)], [[], 0, ['GET']]);
});

test('a session that the server has ended is closed', async context => {
  const of = poll(context);
  await of.engine.run();
  of.engine.end();
  await of.engine.run();
  assert.equal(of.closed, 1);
});

test('an exception of a listener is reported, and polling goes on', async context => {
  const {engine, connection, tick, got} = poll(context);
  await engine.run();
  const listener = connection.onmessage;
  connection.onmessage = () => { throw new RangeError('of the listener'); };
  engine.send('2');
  await engine.run();
  assert.throws(() => tick(0), RangeError);
  connection.onmessage = listener;
  engine.send('2');
  await engine.run();
  assert.deepEqual(got.slice(1), ['2']);
});

// Cookies
// -------

test('requests have cookies; where the server takes none, they have none', async context => {
  const {engine, connections, got} = poll(context, {origin: 'http://other.test', fault: 'lose'});
  await engine.run();
  assert.equal(got.length, 1);
  const asked = engine.log.map(it => it[3].credentials);
  assert.deepEqual(asked, ['include', 'omit', 'omit']);
  assert.equal(connections.credentials, 'omit');
});

// The upgrade
// -----------

test('a session becomes a WebSocket after a first one has worked', async context => {
  const {engine, connections, connection, got, tick} = poll(context);
  await engine.run();
  assert.equal(connections.usesPolling, true);
  engine.send('40{"sid":"x"}');
  await engine.run();
  assert.deepEqual(methods(engine).includes('socket'), false);
  tick(0);
  await engine.run();
  assert.equal(engine.state, 'websocket');
  assert.deepEqual(engine.log.filter(([method]) => method === 'socket').map(it => it[1]), [URL_OF_SOCKET, `${URL_OF_SOCKET}&sid=abc`]);
  connection.send('42["a"]');
  engine.send('42["b"]');
  await engine.run();
  assert.deepEqual([engine.received, got.slice(2)], [['42["a"]'], ['42["b"]']]);
  assert.equal(connections.usesPolling, false);
  assert.deepEqual(engine.problems, []);
});

test('a WebSocket that replaced polling ends as a WebSocket does', async context => {
  const of = poll(context);
  const {engine, tick} = of;
  await engine.run();
  engine.send('40{}');
  await engine.run();
  tick(0);
  await engine.run();
  engine.socket.drop();
  await engine.run();
  assert.equal(of.closed, 1);
});

for (const sockets of ['refuse', 'hang']) {
  test(`a session whose WebSockets ${sockets} goes on by polling and tries again with growing pauses`, async context => {
    const {engine, connection, got, tick} = poll(context);
    engine.sockets = sockets;
    await engine.run();
    engine.send('40{}');
    await engine.run();
    const tries = [];
    for (let second = 0; second < 700; second++) {
      const before = methods(engine).filter(it => it === 'socket').length;
      tick(second ? 1000 : 0);
      await engine.run();
      if (methods(engine).filter(it => it === 'socket').length > before) tries.push(second);
      if (second % 10) continue;
      connection.send(`42${second}`);
      engine.send(`42${second}`);
      await engine.run();
    }
    const late = sockets === 'hang' ? 5 : 0;
    assert.deepEqual(tries, [0, 10 + late, 30 + 2 * late, 70 + 3 * late, 150 + 4 * late, 310 + 5 * late, 610 + 6 * late]);
    assert.deepEqual([engine.received.length, got.length, engine.open.length <= 1], [70, 72, true]);
    engine.sockets = 'work';
    for (let second = 0; second < 310; second++) {
      tick(1000);
      await engine.run();
    }
    assert.equal(engine.state, 'websocket');
    assert.deepEqual(engine.problems, []);
  });
}

test('a failed upgrade ends the session, and the next one waits before it tries', async context => {
  const of = poll(context);
  const {engine, connections, tick} = of;
  engine.sockets = 'hang after 1';
  await engine.run();
  engine.send('40{}');
  await engine.run();
  tick(0);
  await engine.run();
  assert.equal(of.closed, 0);
  tick(5000);
  await engine.run();
  assert.equal(of.closed, 1);
  assert.deepEqual([connections.usesPolling, connections.upgradeDelay], [true, 10000]);
});

test('close during each step of the upgrade leaves no socket, no request and no timer', async context => {
  for (let steps = 0; steps < 40; steps++) {
    context.mock.timers.reset();
    const of = poll(context);
    const {engine, connection, tick} = of;
    await engine.run();
    engine.send('40{}');
    await engine.run();
    tick(0);
    await engine.run(steps);
    connection.close();
    await engine.run();
    const count = engine.log.length;
    tick(1000000);
    await engine.run();
    assert.deepEqual([engine.log.length - count, engine.open, engine.running.GET, of.closed], [0, [], 0, 0], `${steps} steps`);
    assert.equal(engine.state, 'closed', `${steps} steps`);
  }
});

// Random interleavings
// --------------------

function random(seed) {
  let state = seed >>> 0;
  return limit => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

test('in any interleaving each side gets what the other has sent, in order and once', async context => {
  const last = Math.floor(Math.random() * 1e9);
  let upgraded = 0;
  for (const seed of [...Array(150).keys(), last]) {
    context.mock.timers.reset();
    const pick = random(seed);
    const of = poll(context, {pick, maxPayload: 40});
    const {engine, connection, got, tick} = of;
    const sent = {up: [], down: []};
    engine.sockets = ['work', 'refuse', 'hang'][pick(3)];
    await engine.run();
    for (let step = 0; step < 120; step++) {
      const action = pick(10);
      if (action < 3) connection.send(sent.up[sent.up.push(`4up${step}`) - 1]);
      else if (action < 6) engine.send(sent.down[sent.down.push(`4down${step}`) - 1]);
      else if (action < 9) await engine.run(pick(4));
      else if (action === 9) tick([0, 10, 3000, 10000][pick(4)]);
      if (step === 60) engine.sockets = 'work';
      // A GET and a POST of a hung upgrade are not answered in time.
      if (of.closed) break;
    }
    for (let rounds = 0; rounds < 400 && engine.state !== 'websocket' && !of.closed; rounds++) {
      await engine.run();
      tick(1000);
    }
    await engine.run();
    const what = `seed ${seed}`;
    assert.deepEqual(engine.problems, [], what);
    if (of.closed) {
      // A timeout has ended the session in the middle: both sides have a beginning.
      assert.deepEqual(engine.received, sent.up.slice(0, engine.received.length), what);
      assert.deepEqual(got.slice(1), sent.down.slice(0, got.length - 1), what);
      continue;
    }
    assert.deepEqual([engine.received, got.slice(1)], [sent.up, sent.down], what);
    assert.equal(engine.state, 'websocket', what);
    upgraded += 1;
  }
  assert.equal(upgraded > 100, true, `${upgraded} sessions were upgraded`);
});
