// A client of the wire protocol
// -----------------------------

import assert from 'node:assert/strict';

// How long a push may take, in milliseconds.
const DEADLINE = 10_000;

// `WebSocket` is a class: that of a fake server, or that of a network.
export class Client {
  constructor(WebSocket, origin) {
    // The pushes of each room: `[previous offset, changes]` of each push.
    this.pushes = new Map();
    this._answers = new Map();
    this._waiting = [];
    this._count = 0;
    this._socket = new WebSocket(`${origin.replace(/^http/, 'ws')}/socket.io/?EIO=4&transport=websocket`);
    this._socket.onmessage = ({data}) => this._received(String(data));
    this.isOpen = new Promise((resolve, reject) => {
      this._opened = resolve;
      this._socket.onclose = () => reject(new Error('the connection is closed'));
    });
  }

  close() {
    this._socket.onclose = null;
    this._socket.close();
  }

  // Sends an event, and returns its answer.
  async ask(event, argument) {
    await this.isOpen;
    const id = this._count++;
    return new Promise(resolve => {
      this._answers.set(String(id), resolve);
      this._socket.send(`42${id}${JSON.stringify([event, argument])}`);
    });
  }

  // Waits until a room has pushed the change at this offset, or a later one.
  async until(room, offset) {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this._wake();
    }, DEADLINE);
    while (this.lastOf(room) < offset && !isLate) await new Promise(resolve => this._waiting.push(resolve));
    clearTimeout(timer);
  }

  // The offset of the last push of a room; for a push without changes, the one that it announces.
  lastOf(room) {
    const [previous, changes] = this.pushes.get(room)?.at(-1) ?? [-1, []];
    return changes.at(-1)?.[0] ?? previous;
  }

  _received(frame) {
    if (frame === '2') return this._socket.send('3');
    if (frame[0] === '0') return this._socket.send('40{"backwire":1}');
    if (frame.startsWith('40')) return this._opened();
    // The server stops.
    if (frame === '1') return;
    const [, kind, id, json] = /^4([23])(\d*)(\[[^]*)$/.exec(frame) ?? assert.fail(`unexpected frame ${frame}`);
    if (kind === '3') return this._answers.get(id)(JSON.parse(json)[0]);
    const [, room, , previous, changes] = JSON.parse(json);
    this.pushes.set(room, [...this.pushes.get(room) ?? [], [previous, changes]]);
    this._wake();
  }

  _wake() {
    for (const resolve of this._waiting.splice(0)) resolve();
  }
}
