// A fake server with one resource
// -------------------------------
//
// A log, its records, a ledger, and connections with rooms. Requests join a room, then read, then
// are answered; other connections, changes and pushes may come in between. The fan-out sends a
// change in the class room, then in the room of its record to those that are not in the class room,
// then in the room of the filter `done=true`.

import {CREATED, DESTROYED, IDEMPOTENCY_KEY, LEFT, POSITION, PUSH, QUERY, RECORD, ROOM, UPDATED} from '../src/wire.js';

const EPOCH = 7;
const FILTER = 'todo?{"done":true}';
const HANDSHAKE = '0{"sid":"a","pingInterval":25000,"pingTimeout":20000,"maxPayload":4000000}';

export class FakeServer {
  constructor() {
    this.records = new Map();
    this.log = [];
    // Answers by idempotency key, and the number of commits.
    this.ledger = new Map();
    this.commits = new Map();
    this.connections = new Map();
    this._lastId = 0;
    this._pushed = 0;
    this._isInClass = false;
    // Rooms that a push of was lost in.
    this._behind = new Set();
  }

  // Connections
  // -----------

  accept(socket) {
    this.connections.set(socket, {socket, rooms: new Set(), up: [], joined: [], down: [HANDSHAKE]});
  }

  received(socket, frame) {
    this.connections.get(socket)?.up.push(frame);
  }

  left(socket) {
    this.connections.delete(socket);
  }

  drop() {
    for (const socket of [...this.connections.keys()]) {
      this.left(socket);
      socket.end();
    }
  }

  ping() {
    for (const {down} of this.connections.values()) down.push('2');
  }

  // One step of a random part. Returns whether there was something to do.
  step(random) {
    const steps = [...this.connections.values()].flatMap(connection => [
      ...connection.up.length ? [() => this._receive(connection)] : [],
      ...connection.joined.length ? [() => this._execute(connection)] : [],
      ...connection.down.length ? [() => connection.socket.deliver(connection.down.shift())] : []
    ]);
    if (this._pushed < this.log.length) steps.push(() => this._fanOut());
    if (steps.length) steps[random(steps.length)]();
    return steps.length > 0;
  }

  // Requests
  // --------

  _receive(connection) {
    const frame = connection.up.shift();
    if (frame.startsWith('40')) return connection.down.push('40{"sid":"b"}');
    const [, ack, json] = /^42(\d*)(.*)$/.exec(frame) ?? [];
    if (!json) return;
    const [event, argument] = JSON.parse(json);
    if (event === 'unsubscribe') return connection.rooms.delete(argument);
    if (event === 'resume') for (const [room] of argument) connection.rooms.add(room);
    const room = event === 'get' ? roomOf(argument.url) : null;
    if (room) connection.rooms.add(room);
    connection.joined.push({ack, event, argument, room});
  }

  _execute(connection) {
    const {ack, event, argument, room} = connection.joined.shift();
    const answer = event === 'resume' ? argument.map(asked => this._resume(asked)) : event === 'get' ? this._read(argument.url, room) : this.write(event, argument);
    connection.down.push(`43${ack}${JSON.stringify([answer])}`);
  }

  _read(url, room) {
    const id = idOf(url);
    const all = [...this.records.values()];
    const body = id ? this.records.get(id) : room === FILTER ? all.filter(({done}) => done) : all;
    const headers = {[POSITION]: this.head, [ROOM]: room, [QUERY]: id ? 'one' : room === FILTER ? 'filter' : 'whole', 'content-type': 'application/json'};
    return body ? {body, statusCode: 200, headers} : {body: {code: 'E_NOT_FOUND'}, statusCode: 404, headers: {'content-type': 'application/json'}};
  }

  _resume([room, epoch, offset]) {
    if (epoch !== EPOCH) return [room, null];
    return [room, EPOCH, this.log.length, this.log.slice(offset).map(entry => entryFor(room, entry)).filter(Boolean)];
  }

  get head() {
    return `${EPOCH}:${this.log.length}`;
  }

  // A write over a connection, or of somebody else.
  write(event, {url, headers = {}, data}) {
    const key = headers[IDEMPOTENCY_KEY];
    if (key && this.ledger.has(key)) return this.ledger.get(key);
    const id = event === 'post' ? ++this._lastId : idOf(url);
    const before = this.records.get(id);
    if (event !== 'post' && !before) return {body: {code: 'E_NOT_FOUND'}, statusCode: 404, headers: {}};
    const verb = event === 'post' ? CREATED : event === 'delete' ? DESTROYED : UPDATED;
    const after = verb === DESTROYED ? undefined : {done: false, ...before, ...data, id};
    if (after) this.records.set(id, after);
    else this.records.delete(id);
    this.log.push({offset: this.log.length + 1, verb, id, data, before, after, mark: key ? markOf(key) : 0});
    const answer = {body: after ?? before, statusCode: verb === CREATED ? 201 : 200, headers: {[POSITION]: this.head, [RECORD]: `todo/${id}`}};
    if (!key) return answer;
    this.ledger.set(key, answer);
    this.commits.set(key, (this.commits.get(key) ?? 0) + 1);
    return answer;
  }

  // Pushes
  // ------

  _fanOut() {
    const entry = this.log[this._pushed];
    this._isInClass = !this._isInClass;
    if (this._isInClass) return this._push('todo', entry);
    this._push(`todo/${entry.id}`, entry, ({rooms}) => !rooms.has('todo'));
    if (entryFor(FILTER, entry)) this._push(FILTER, entry);
    this._pushed += 1;
  }

  _push(room, entry, isFor = () => true) {
    const prev = this.log.slice(0, entry.offset - 1).findLast(each => entryFor(room, each))?.offset ?? 0;
    const frame = `42${JSON.stringify([PUSH, room, EPOCH, prev, [entryFor(room, entry)]])}`;
    for (const connection of this.connections.values()) {
      if (!connection.rooms.has(room) || !isFor(connection)) continue;
      if (this.isLosing?.()) this._behind.add(room);
      else connection.down.push(frame);
    }
  }

  // Announces the positions of rooms in which pushes were lost.
  announce() {
    for (const room of this._behind) {
      for (const {rooms, down} of this.connections.values()) {
        if (rooms.has(room)) down.push(`42${JSON.stringify([PUSH, room, EPOCH, this._pushed, []])}`);
      }
    }
    this._behind.clear();
  }
}

function roomOf(url) {
  return url === '/todo' ? 'todo' : idOf(url) ? `todo/${idOf(url)}` : FILTER;
}

function idOf(url) {
  return Number(/^\/todo\/(\d+)/.exec(url)?.[1] ?? 0);
}

// The change as it is in this room, or undefined.
function entryFor(room, {offset, verb, id, data, before, after, mark}) {
  if (room !== FILTER) return room === 'todo' || room === `todo/${id}` ? [offset, verb, id, verb === CREATED ? after : data ?? null, mark] : undefined;
  if (before?.done && after?.done) return [offset, UPDATED, id, data, mark];
  if (after?.done) return [offset, CREATED, id, after, mark];
  return before?.done ? [offset, after ? LEFT : DESTROYED, id, null, mark] : undefined;
}

// FNV-1a 64 of the key, lowest 53 bits.
function markOf(key) {
  const hash = [...Buffer.from(key)].reduce((sum, byte) => BigInt.asUintN(64, (sum ^ BigInt(byte)) * 0x100000001b3n), 0xcbf29ce484222325n);
  return Number(BigInt.asUintN(53, hash));
}
