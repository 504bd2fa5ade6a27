// A connection to the fake server
// -------------------------------
//
// It has the part of a WebSocket that the runtime uses, and speaks the wire protocol. Nothing is
// called back before the call that caused it has returned.

import {DELIVERED, PUSH, RESUME, UNSUBSCRIBE} from '../src/wire.js';

// The runtime expects a ping at least this often, in milliseconds. The fake server sends none.
const PING_INTERVAL = 1e9;
const HANDSHAKE = {sid: 'fake', upgrades: [], pingInterval: PING_INTERVAL, pingTimeout: 1e6, maxPayload: 4 * 2 ** 20};
const VERBS = ['get', 'post', 'put', 'patch', 'delete'];

export class Connection extends EventTarget {
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;
  readyState = 0;

  // `server` is the `FakeServer`.
  constructor(server, url) {
    super();
    Object.assign(this, {url, _server: server});
    // The rooms that the connection is in, by name.
    this.rooms = new Map();
    // The device of the push service; undefined for a page without a site.
    this.device = undefined;
    soon(() => this._open());
  }

  send(frame) {
    soon(() => this.readyState === 1 && this._received(frame));
  }

  close() {
    this._server.forget(this);
    this.readyState = 3;
  }

  // Ends the connection as a failure of the network does.
  fail() {
    if (this.readyState === 3) return;
    this.close();
    this._fire('close', {code: 1006, reason: '', wasClean: false});
  }

  // Sends an event.
  emit(...event) {
    this._send(`42${JSON.stringify(event)}`);
  }

  _send(data) {
    soon(() => this.readyState === 1 && this._fire('message', {data}));
  }

  _fire(type, fields) {
    const event = Object.assign(new Event(type), fields);
    this[`on${type}`]?.(event);
    this.dispatchEvent(event);
  }

  _open() {
    if (this.readyState === 3) return;
    if (!this._server.isReachable) return this.fail();
    this.readyState = 1;
    this._fire('open', {});
    this._send(`0${JSON.stringify(HANDSHAKE)}`);
  }

  // Packets of the client
  // ---------------------

  _received(frame) {
    if (frame.startsWith('40')) return this._connected(JSON.parse(frame.slice(2) || '{}'));
    if (frame === '2probe' || frame === '2') return this._send('3');
    const [, id, json] = /^42(\d*)(\[[^]*)$/.exec(frame) ?? [];
    if (json) this._event(JSON.parse(json), answer => this._send(`43${id}${JSON.stringify([answer])}`));
  }

  _connected({site, deviceId = ''}) {
    this._send('40{"sid":"fake"}');
    if (site === undefined) return;
    this.device = this._server.deliveries.device(deviceId);
    this.deliver(this.device.waiting());
  }

  // Sends events to the user of the page.
  deliver(events) {
    if (events.length) this.emit(PUSH, '', 0, 0, events.map(({id, data}) => [0, 0, id, data, 0]));
  }

  _event([name, argument], answer) {
    if (name === RESUME) return answer(argument.map(entry => this._resume(entry)));
    if (name === UNSUBSCRIBE) return this.rooms.delete(argument);
    if (name === DELIVERED) return this.device?.acknowledge(argument);
    if (VERBS.includes(name)) this._server.request(this, name, argument).then(answer);
  }

  _resume([name, epoch, offset, ...highest]) {
    const room = this._server.rooms.get(name);
    if (!room) return [name, null];
    this.rooms.set(name, room);
    return this._server.store.resume(room, epoch, offset, highest[0]);
  }

  // Pushes the last change of a resource to the rooms of this connection. In the room of a resource
  // the change counts for its records, too.
  changed(resource) {
    for (const room of this.rooms.values()) {
      if (room.resource !== resource || room.kind === 'one' && this.rooms.has(resource)) continue;
      const push = this._server.store.push(room);
      if (push) this.emit(PUSH, ...push);
    }
  }
}

// A promise, because the timers of a test may be fake.
function soon(run) {
  Promise.resolve().then(run);
}
