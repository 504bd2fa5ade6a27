// A fake browser with several tabs
// --------------------------------

import {AsyncLocalStorage} from 'node:async_hooks';

import {fakePage} from './page.js';
import {FakeLocks} from './locks.js';

// The tab whose code runs.
const running = new AsyncLocalStorage();

export class FakeBrowser {
  // `server` accepts the connections: see `server.js`. Call this after `mock.timers.enable`.
  constructor(server) {
    Object.assign(this, {server, locks: new FakeLocks(), channels: new Set()});
    for (const name of ['setTimeout', 'setInterval']) {
      const original = globalThis[name];
      globalThis[name] = (run, ...rest) => {
        const tab = running.getStore();
        return original(tab ? () => tab.task(run) : run, ...rest);
      };
    }
  }

  // Opens a tab, and runs `start(page)` in it.
  open(start) {
    const tab = new FakeTab(this);
    tab.result = tab.run(() => start(tab.page));
    return tab;
  }
}

class FakeTab {
  constructor(browser) {
    Object.assign(this, {browser, _tasks: [], sockets: new Set(), _end: new AbortController()});
    this._closed = new Promise(resolve => { this._release = resolve; });
    const page = this.page = fakePage();
    page.navigator = {locks: {request: (...args) => this._lock(...args)}};
    page.WebSocket = fakeWebSocket(this);
    page.BroadcastChannel = fakeBroadcastChannel(this);
  }

  // Runs code in this tab, now.
  run(code) {
    return running.run(this, code);
  }

  // Runs a task of the browser: later if the tab is frozen, never if it is closed.
  task(code) {
    if (this.isClosed) return;
    if (this.isFrozen) this._tasks.push(code);
    else this.run(code);
  }

  // Stops the tab without an event, as a page does that is busy. With `isDeaf`, messages to the tab
  // get lost.
  freeze() {
    this.isFrozen = true;
  }

  thaw() {
    this.isFrozen = false;
    for (const code of this._tasks.splice(0)) this.task(code);
  }

  // Closes the tab with the events of a page that is left.
  close() {
    this.run(() => this.page.fire('pagehide'));
    this.crash();
  }

  crash() {
    this.isClosed = true;
    this._end.abort();
    this._release();
    for (const channel of this.browser.channels) if (channel.tab === this) this.browser.channels.delete(channel);
    for (const socket of this.sockets) this.browser.server.left(socket);
  }

  _lock(name, ...rest) {
    const use = rest.pop();
    const {signal, steal} = rest[0] ?? {};
    const end = this._end.signal;
    const options = steal ? {steal} : {signal: signal ? AbortSignal.any([signal, end]) : end};
    const awake = lock => new Promise((resolve, reject) => {
      this.task(() => Promise.resolve(use(lock)).then(resolve, reject));
      this._closed.then(resolve);
    });
    const asked = this.browser.locks.request(name, options, awake);
    return new Promise((resolve, reject) => {
      asked.then(value => this.task(() => resolve(value)), error => this.task(() => reject(error)));
    });
  }
}

const fakeWebSocket = tab => class extends EventTarget {
  constructor(url) {
    super();
    this.url = url;
    tab.sockets.add(this);
    tab.browser.server.accept(this);
  }

  send(frame) { tab.browser.server.received(this, frame); }

  close() {
    tab.sockets.delete(this);
    tab.browser.server.left(this);
  }

  // Calls of the server.
  deliver(data) { tab.task(() => this._fire('message', {data})); }
  end() {
    tab.sockets.delete(this);
    tab.task(() => this._fire('close', {}));
  }

  _fire(type, fields) {
    const event = Object.assign(new Event(type), fields);
    this.dispatchEvent(event);
    this[`on${type}`]?.(event);
  }
};

const fakeBroadcastChannel = tab => class {
  constructor(name) {
    Object.assign(this, {name, tab});
    tab.browser.channels.add(this);
  }

  postMessage(message) {
    if (!tab.browser.channels.has(this)) throw new DOMException('The channel is closed.', 'InvalidStateError');
    const text = JSON.stringify(message);
    const data = structuredClone(message);
    if (JSON.stringify(data) !== text) throw new Error('not a plain message');
    for (const channel of tab.browser.channels) {
      if (channel !== this && channel.name === this.name) channel.receive(data);
    }
  }

  // A message that has arrived is not delivered after `close`.
  receive(data) {
    if (this.tab.isDeaf) return;
    Promise.resolve().then(() => this.tab.task(() => tab.browser.channels.has(this) && this.onmessage?.({data})));
  }

  close() { tab.browser.channels.delete(this); }
};
