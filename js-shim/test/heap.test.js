// A page that is left open
// ------------------------
//
// The real core and a server in the test, for a day on a virtual clock.

import assert from 'node:assert/strict';
import {mock, test} from 'node:test';

import {collectGarbage} from '../fakes/garbage.js';
import {fakePage, loadAtOnce, start} from '../fakes/page.js';
import {makeCore} from '../src/wasm.js';

const RECONNECTS = 2000;
const DAY = 24 * 3600 * 1000;
const RECORDS = 50;
// After the first half, the engine has compiled what it will compile. An object that leaks at each
// reconnect is larger than this.
const MAX_GROWTH = RECONNECTS / 2 * 256;

const settle = () => new Promise(resolve => { setImmediate(resolve); });

// A server with records that change, of which each socket is one connection.
class Server {
  offset = 0;
  records = new Map();
  sockets = 0;

  // A class like `WebSocket`.
  get WebSocket() {
    const server = this;
    return class extends EventTarget {
      constructor() {
        super();
        server.sockets += 1;
        server.socket = this;
        queueMicrotask(() => this.say('0{"sid":"a","pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'));
      }
      send(frame) { server.receive(this, frame); }
      close() {}
      say(data) {
        const event = Object.assign(new Event('message'), {data});
        this.dispatchEvent(event);
        this.onmessage?.(event);
      }
      cut() {
        const event = new Event('close');
        this.dispatchEvent(event);
        this.onclose?.(event);
      }
    };
  }

  receive(socket, frame) {
    if (frame.startsWith('40')) return socket.say('40{"sid":"b"}');
    const [, ack, json] = /^42(\d*)(.*)$/.exec(frame) ?? [];
    if (!json) return;
    const [verb, about] = JSON.parse(json);
    const answer = verb === 'resume' ? about.map(([room, , from]) => [room, 7, this.offset, this.changesAfter(from)]) : {
      statusCode: 200, body: [...this.records.values()], headers: {'backwire-room': 'todo', 'backwire-position': `7:${this.offset}`}
    };
    socket.say(`43${ack}${JSON.stringify([answer])}`);
  }

  change() {
    this.offset += 1;
    const id = this.offset % RECORDS + 1;
    const verb = this.records.has(id) ? 2 : 1;
    const data = {id, n: this.offset, text: `text ${this.offset}`};
    this.records.set(id, data);
    this.changes = [...(this.changes ?? []), [this.offset, verb, id, data, 0]].slice(-20);
    return this.changes.at(-1);
  }

  changesAfter(offset) {
    return this.changes.filter(([at]) => at > offset);
  }
}

test('a day with 2,000 reconnects leaves no more memory in use', async () => {
  mock.timers.enable({apis: ['setTimeout', 'Date']});
  const server = new Server();
  const page = Object.assign(fakePage(), {WebSocket: server.WebSocket});
  const core = makeCore(loadAtOnce);
  const {Todos, Backwire} = start({page, makeClient: core.makeClient});
  await settle();
  server.change();
  const todos = new Todos();
  todos.fetch();
  let used;
  for (let round = 1; round <= RECONNECTS; round++) {
    const {socket} = server;
    for (let time = 0; time < 3; time++) {
      const before = server.offset;
      socket.say(`42${JSON.stringify(['push', 'todo', 7, before, [server.change()]])}`);
    }
    mock.timers.tick(DAY / RECONNECTS / 2);
    // Changes that are made while the page is away come with the resume.
    server.change();
    server.socket.cut();
    mock.timers.tick(DAY / RECONNECTS / 2);
    await settle();
    await settle();
    if (round === RECONNECTS / 2) used = await memory();
  }
  assert.equal(Backwire.status.state, 'online');
  assert.ok(server.sockets > RECONNECTS, `${server.sockets} connections`);
  assert.deepEqual(todos.toJSON().sort((one, other) => one.id - other.id), [...server.records.values()].sort((one, other) => one.id - other.id));
  const growth = await memory() - used;
  assert.ok(growth < MAX_GROWTH, `the heap has grown by ${growth} bytes`);
  mock.timers.reset();
});

async function memory() {
  await collectGarbage();
  const {heapUsed, arrayBuffers, external} = process.memoryUsage();
  return heapUsed + arrayBuffers + external;
}
