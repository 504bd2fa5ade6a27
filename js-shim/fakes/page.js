// A page with Backbone and Backwire on it
// ---------------------------------------

import {readFileSync} from 'node:fs';
import {STATUS_CODES} from 'node:http';
import {createRequire} from 'node:module';

import {PARTS} from '../src/all-parts.js';
import {attempt} from '../src/attempt.js';
import {makeBackwire} from '../src/backwire.js';
import {makeCore} from '../src/wasm.js';
import {FakeClient} from './client.js';

const require = createRequire(import.meta.url);

// A new copy of the real Backbone, with its own `sync` and `ajax`.
export function freshBackbone($) {
  delete require.cache[require.resolve('backbone')];
  const Backbone = require('backbone');
  Backbone.$ = $;
  return Backbone;
}

// A new copy of an old Backbone, which calls `ajax` of this jQuery.
export function oldBackbone(version, underscore, $) {
  const page = {_: require(underscore), jQuery: $};
  new Function(readFileSync(require.resolve(`backbone-${version}/backbone.js`), 'utf8')).call(page);
  return page.Backbone;
}

// The part of a window that Backwire uses. `fire` dispatches its events.
export function fakePage(address = 'http://app.test/notes/index.html') {
  const target = new EventTarget();
  const {XMLHttpRequest, requests} = fakeXhr();
  return {
    XMLHttpRequest,
    xhrs: requests,
    location: {href: address},
    document: Object.assign(new EventTarget(), {baseURI: address, hidden: false}),
    localStorage: fakeStorage(),
    sessionStorage: fakeStorage(),
    addEventListener: target.addEventListener.bind(target),
    removeEventListener: target.removeEventListener.bind(target),
    dispatch: event => target.dispatchEvent(event),
    fire: name => target.dispatchEvent(new Event(name))
  };
}

// A storage for at most `room` items.
export function fakeStorage(room = Infinity) {
  const storage = Object.create({
    getItem: name => storage[name] ?? null,
    setItem(name, text) {
      if (Object.keys(storage).length >= room) throw new Error('QuotaExceededError');
      storage[name] = text;
    },
    removeItem(name) { delete storage[name]; }
  });
  return storage;
}

// An XMLHttpRequest that a test answers; `requests` are those that were sent.
export function fakeXhr() {
  const requests = [];
  class FakeXhr extends EventTarget {
    status = 0;
    open(method, url, isAsync = true) { Object.assign(this, {method, url, isAsync, headers: {}}); }
    setRequestHeader(name, value) { this.headers[name] = value; }
    overrideMimeType() {}
    getAllResponseHeaders() {
      return Object.entries(this.replyHeaders ?? {}).map(pair => pair.join(': ') + '\r\n').join('');
    }
    getResponseHeader(name) { return this.replyHeaders?.[name.toLowerCase()] ?? null; }
    send(body) { requests.push(Object.assign(this, {body: jsonOf(body)})); }
    abort() { this._end('abort'); }
    answer(status, body, headers = {}) {
      this.replyHeaders = {'content-type': 'application/json', ...headers};
      Object.assign(this, {status, readyState: 4, statusText: STATUS_CODES[status], responseText: body === undefined ? '' : JSON.stringify(body)});
      this.response = this.responseText;
      this._end('load');
    }
    _end(type) {
      for (const name of [type, 'loadend']) this.dispatchEvent(new Event(name));
    }
    // As a browser does: a listener that throws is reported and stops no other.
    dispatchEvent(event) {
      attempt(() => this[`on${event.type}`]?.(event));
      super.dispatchEvent(event);
    }
  }
  return {XMLHttpRequest: FakeXhr, requests};
}

function jsonOf(body) {
  try {
    return body ? JSON.parse(body) : undefined;
  } catch {
    return body;
  }
}

// Loads a part as in the ES module.
export function loadAtOnce(name, callback) {
  callback(PARTS[name]);
}

// A `loadPart` that loads these parts when the test calls `load(name)`, and the others at once.
// `load(name, null)` fails. `asked` lists the names of the late parts that were asked for.
export function lateParts(...names) {
  const asked = [];
  const callbacks = {};
  const loadPart = (name, callback) => {
    if (!names.includes(name)) return loadAtOnce(name, callback);
    asked.push(name);
    callbacks[name] = callback;
  };
  return {loadPart, asked, load: (name, part = PARTS[name]) => callbacks[name]?.(part)};
}

// An installed Backwire. `loadPart` loads its parts. `ajaxed` lists the requests of the page's own
// XMLHttpRequests.
export function start({$, Backbone = freshBackbone($), url = 'http://app.test', page = fakePage(), makeClient, ajax, loadPart = loadAtOnce, ...options} = {}) {
  if (ajax) Backbone.ajax = ajax;
  const originalSync = Backbone.sync;
  const originalAjax = Backbone.ajax;
  const clients = [];
  const core = {
    ...makeCore(loadPart),
    makeClient: makeClient || ((...args) => {
      clients.push(new FakeClient(...args));
      return clients.at(-1);
    })
  };
  const Backwire = makeBackwire(core, page);
  Backwire.install(Backbone, {url, ...options});
  const Todo = Backbone.Model.extend({urlRoot: '/todo'});
  const Todos = Backbone.Collection.extend({url: '/todo', model: Todo});
  return {
    Backbone, Backwire, Todo, Todos, page, originalAjax, originalSync, client: clients[0], clients, sent: page.xhrs,
    get ajaxed() { return page.xhrs.map(({method, url: asked}) => `${method} ${asked}`); }
  };
}

// Backwire with a collection that was read at 5: Milk with the id 1 and Eggs with the id 2.
export function startWithTodos(options) {
  const all = start(options);
  const todos = new all.Todos();
  todos.fetch();
  all.client.read('todo', 5, [{id: 1, title: 'Milk', done: false}, {id: 2, title: 'Eggs', done: false}]);
  return {...all, todos};
}

// The names of all events of an object from now on.
export function eventsOf(object) {
  const events = [];
  object.on('all', name => events.push(name));
  return events;
}
