// A fake server for tests of apps
// -------------------------------
//
//     import {fakeServer} from 'backwire/testing';
//
//     const server = fakeServer({todo: [{id: 1, title: 'Milk'}]});
//     server.install(Backbone);
//
// It runs in the page or in Node, without a network. Backwire itself is the real one: it speaks the
// wire protocol with this server.

import Backwire from '#backwire';

import {Connection} from './connection.js';
import {Deliveries} from './deliveries.js';
import {replaceGlobals} from './globals.js';
import {overrideOf} from './override.js';
import {Store} from './store.js';

// The number of turns without an event after which nothing more happens by itself.
const QUIET_TURNS = 50;

let current = null;

// Starts a fake server with these records. It replaces a former one that was not closed.
export function fakeServer(records = {}, options = {}) {
  current?.close();
  current = new FakeServer(records, options);
  return current;
}

class FakeServer {
  constructor(records, {url = globalThis.location?.origin, prefix = ''}) {
    // A page without an address of its own, such as `about:blank`, has the origin `null`.
    this.url = /^http/.test(url) ? url : 'http://backwire.test';
    // The requests of the app so far, oldest first: `{method, url, path, query, headers, body}`.
    this.requests = [];
    // Whether there is a connection to the server; false after `drop`.
    this.isReachable = true;
    this.store = new Store(prefix);
    this.deliveries = new Deliveries();
    // All rooms that were joined, by name.
    this.rooms = new Map();
    this._connections = new Set();
    this._origins = new Set([new URL(this.url).origin]);
    this._overrides = [];
    this._activity = 0;
    this._open = new Set();
    for (const name in records) for (const record of records[name]) this.create(name, record);
    this.store.whenChanged = resource => this._changed(resource);
    this._globals = replaceGlobals(this);
  }

  // Backwire
  // --------

  // Installs Backwire, with this server as its `url`. Returns Backwire. The page has a connection
  // of its own, because another page with tests has another fake server.
  install(Backbone, options) {
    this._isInstalled = true;
    return Backwire.install(Backbone, {url: this.url, ...options, shared: false});
  }

  // Puts the globals back, and uninstalls what `install` has installed.
  close() {
    if (current !== this) return;
    current = null;
    // A write that is left must not be sent to the server of the next test.
    if (this._isInstalled) Backwire.clear().uninstall();
    for (const connection of [...this._connections]) connection.close();
    this._globals.restore();
  }

  // Answers
  // -------

  // Answers requests of the app in another way than the fake server would, until `reset`.
  respond(method, path, response, options) {
    this._overrides.unshift(overrideOf(method, path, response, options));
    return this;
  }

  // Forgets the requests so far and the answers of `respond`. Records stay.
  reset() {
    this.requests.length = 0;
    this._overrides = [];
    return this;
  }

  // Other clients
  // -------------

  // The records of a resource, in the order of their ids.
  records(resource) {
    return this.store.records(resource).map(copy);
  }

  // Creates, updates and destroys records as another client does. Each returns the record.
  create(resource, attributes) {
    return copy(this.store.create(this.store.resource(resource), attributes));
  }

  update(resource, id, attributes) {
    return copy(this.store.update(this.store.resource(resource), id, attributes));
  }

  destroy(resource, id) {
    return copy(this.store.destroy(this.store.resource(resource), id));
  }

  // Sends an event to the user of the page, as a back end does. The page has to name a `site`.
  push(event, ...args) {
    const added = this.deliveries.add(copy([event, ...args]));
    for (const connection of this._connections) if (connection.device) connection.deliver([added]);
    return this;
  }

  // The network
  // -----------

  // Ends the connection. It cannot be made again until `restore`, and requests over HTTP fail too.
  drop() {
    this.isReachable = false;
    for (const connection of [...this._connections]) connection.fail();
    return this;
  }

  // Makes the server reachable. The app connects at once.
  restore() {
    this.isReachable = true;
    this._globals.wake();
    return this;
  }

  // Waits until every request that was sent is answered and everything that follows from it has
  // happened. Requests that wait for `restore` are not waited for.
  async settled() {
    for (let quiet = 0, seen = -1; quiet < QUIET_TURNS; quiet = this._open.size || seen !== this._activity ? 0 : quiet + 1) {
      seen = this._activity;
      await (this._open.size ? Promise.all(this._open) : Promise.resolve());
    }
    return this;
  }

  // Calls of connections
  // --------------------

  connect(url) {
    const connection = new Connection(this, url);
    this._connections.add(connection);
    this._origins.add(new URL(url).origin.replace(/^ws/, 'http'));
    this._activity += 1;
    return connection;
  }

  forget(connection) {
    this._connections.delete(connection);
  }

  // Whether the network does not reach this url.
  isCutOff(target) {
    if (this.isReachable) return false;
    return this._origins.has(new URL(target.url ?? target, globalThis.location?.href ?? this.url).origin);
  }

  request(connection, verb, {url, headers = {}, data}) {
    const [path, query = ''] = url.split(/\?([^]*)/);
    const request = {method: verb.toUpperCase(), url, path, query: Object.fromEntries(new URLSearchParams(query)), headers, body: data};
    this.requests.push(request);
    this._activity += 1;
    const answer = this._answer(connection, request, query);
    const open = answer.finally(() => {
      this._open.delete(open);
      this._activity += 1;
    });
    this._open.add(open);
    return answer;
  }

  async _answer(connection, request, query) {
    const overridden = await this._overridden(request);
    if (overridden) return overridden;
    const {room, ...answer} = this.store.answer({...request, query});
    if (room) this._join(connection, room);
    return copy(answer);
  }

  async _overridden(request) {
    for (const override of [...this._overrides]) {
      const match = override.match(request);
      if (!match) continue;
      // Before the answer, which may take time: the next request must not get it, too.
      if (override.isOnce) this._overrides = this._overrides.filter(other => other !== override);
      const answer = await override.answer(request, match);
      if (answer) return answer;
    }
    return null;
  }

  _join(connection, room) {
    this.rooms.set(room.name, room);
    connection.rooms.set(room.name, room);
  }

  _changed(resource) {
    this._activity += 1;
    for (const connection of this._connections) connection.changed(resource);
  }
}

function copy(value) {
  return JSON.parse(JSON.stringify(value));
}
