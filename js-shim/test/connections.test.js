// The choice between a WebSocket and long-polling
// -----------------------------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {FakeEngine} from '../fakes/engine.js';
import {lateParts, loadAtOnce} from '../fakes/page.js';
import {Connections} from '../src/connections.js';
import {makeUse} from '../src/parts.js';

// A page, and `attempt`, which opens a connection as the core does. Each attempt meets a server of
// its own whose `sockets` work, are refused or hang, and whose polling works unless `polling` has a
// fault.
function make(context, load = loadAtOnce) {
  context.mock.timers.enable({apis: ['setTimeout']});
  const page = {};
  const connections = new Connections(page, makeUse(load));
  async function attempt(sockets, polling) {
    const engine = new FakeEngine();
    Object.assign(engine, {sockets});
    if (polling) engine.faults.GET = polling;
    Object.assign(page, engine.page);
    const connection = connections.open('ws://app.test/socket.io/?EIO=4&transport=websocket');
    const got = {engine, connection, packets: [], closed: 0};
    connection.onmessage = ({data}) => got.packets.push(data);
    // As the core does.
    connection.onclose = () => {
      got.closed += 1;
      close(connection);
    };
    await engine.run();
    return got;
  }
  return {connections, attempt, page, tick: ms => context.mock.timers.tick(ms)};
}

function close(connection) {
  connection.onmessage = connection.onclose = null;
  connection.close();
}

const kind = ({engine: {log: [[method]]}}) => (method === 'socket' ? method : 'polling');

test('after a WebSocket that is refused the next attempt polls, and later ones, too', async context => {
  const {attempt} = make(context);
  const refused = await attempt('refuse');
  assert.deepEqual([kind(refused), refused.packets, refused.closed], ['socket', [], 1]);
  const polling = await attempt('refuse');
  assert.deepEqual([kind(polling), polling.packets.length, polling.closed], ['polling', 1, 0]);
  polling.engine.end();
  await polling.engine.run();
  assert.equal(polling.closed, 1);
  assert.equal(kind(await attempt('refuse')), 'polling');
});

test('a WebSocket that hangs is closed after five seconds', async context => {
  const {attempt, tick} = make(context);
  const hung = await attempt('hang');
  tick(4999);
  assert.equal(hung.closed, 0);
  tick(1);
  assert.deepEqual([hung.closed, hung.engine.open], [1, []]);
  assert.equal(kind(await attempt('hang')), 'polling');
});

test('while the server is down both are tried in turn', async context => {
  const {attempt} = make(context);
  const kinds = [];
  for (let count = 0; count < 6; count++) kinds.push(kind(await attempt('refuse', 'lose')));
  assert.deepEqual(kinds, ['socket', 'polling', 'socket', 'polling', 'socket', 'polling']);
  assert.deepEqual((await attempt('work')).packets.length, 1);
});

test('a WebSocket that has worked is tried first after it breaks, however late', async context => {
  const {attempt, tick} = make(context);
  const {engine: {open: [socket]}, ...working} = await attempt('work');
  tick(100000);
  socket.drop();
  await socket.engine.run();
  assert.deepEqual([working.packets.length, socket.engine.open], [1, []]);
  assert.equal(kind(await attempt('work')), 'socket');
});

test('an upgraded session is followed by a WebSocket', async context => {
  const {attempt, tick} = make(context);
  await attempt('refuse');
  const {engine} = await attempt('work');
  engine.send('40{}');
  await engine.run();
  tick(0);
  await engine.run();
  engine.socket.drop();
  await engine.run();
  assert.equal(kind(await attempt('work')), 'socket');
});

test('a WebSocket that the core closes before the first packet has not failed', async context => {
  const {attempt, tick} = make(context);
  const first = await attempt('hang');
  close(first.connection);
  await first.engine.run();
  tick(10000);
  assert.equal(kind(await attempt('work')), 'socket');
});

test('a WebSocket that the browser refuses to open is followed by polling', async context => {
  const {connections, page} = make(context);
  page.WebSocket = class { constructor() { throw new TypeError('blocked'); } };
  assert.throws(() => connections.open('ws://app.test/'), TypeError);
  assert.equal(connections.usesPolling, true);
});

test('without the part WebSockets go on', async context => {
  const {loadPart, load, asked} = lateParts('polling');
  const {attempt} = make(context, loadPart);
  for (let count = 1; count <= 3; count++) {
    assert.equal(kind(await attempt('refuse')), 'socket');
    const waiting = await attempt('work');
    assert.deepEqual([waiting.engine.log, asked.length], [[], count]);
    load('polling', null);
    assert.equal(waiting.closed, 1);
  }
  assert.equal((await attempt('work')).packets.length, 1);
});

test('a connection that the core closes before the part is there stays closed', async context => {
  const {loadPart, load} = lateParts('polling');
  const {attempt} = make(context, loadPart);
  await attempt('refuse');
  const waiting = await attempt('work');
  close(waiting.connection);
  load('polling');
  await waiting.engine.run();
  assert.deepEqual([waiting.engine.log, waiting.closed], [[], 0]);
});
