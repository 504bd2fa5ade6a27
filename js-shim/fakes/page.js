// A page with Backbone and Backwire on it
// ---------------------------------------

import {createRequire} from 'node:module';

import {makeBackwire} from '../src/backwire.js';
import {FakeClient} from './client.js';

const require = createRequire(import.meta.url);

// The real Backbone, and each time another one: its `sync` and `ajax` are all its own.
export function freshBackbone($) {
  delete require.cache[require.resolve('backbone')];
  const Backbone = require('backbone');
  Backbone.$ = $;
  return Backbone;
}

// The part of a window that we look at, with a `fire` for its events.
export function fakePage(address = 'http://app.test/notes/index.html') {
  const target = new EventTarget();
  return {
    location: {href: address},
    document: {baseURI: address},
    localStorage: fakeStorage(),
    sessionStorage: fakeStorage(),
    addEventListener: target.addEventListener.bind(target),
    removeEventListener: target.removeEventListener.bind(target),
    dispatch: event => target.dispatchEvent(event),
    fire: name => target.dispatchEvent(new Event(name))
  };
}

// A storage with `room` for so many items.
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

// Backwire, installed. The page's own ajax only writes down what it is asked.
export function start({$, url = 'http://app.test', page = fakePage(), makeClient, ...options} = {}) {
  const Backbone = freshBackbone($);
  const ajaxed = [];
  const plainAjax = settings => {
    ajaxed.push(`${settings.type} ${settings.url}`);
    return 'plain xhr';
  };
  if (!$) Backbone.ajax = plainAjax;
  const originalSync = Backbone.sync;
  const clients = [];
  const Backwire = makeBackwire(makeClient || ((...args) => {
    clients.push(new FakeClient(...args));
    return clients.at(-1);
  }), page);
  Backwire.install(Backbone, {url, ...options});
  const Todo = Backbone.Model.extend({urlRoot: '/todo'});
  const Todos = Backbone.Collection.extend({url: '/todo', model: Todo});
  return {Backbone, Backwire, Todo, Todos, page, ajaxed, plainAjax, originalSync, client: clients[0], clients};
}

// Backwire with a collection that was read: `{id: 1, title: 'Milk'}`, `{id: 2, title: 'Eggs'}` at 5.
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
