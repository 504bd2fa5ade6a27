// Backwire
// --------
//
// The API of a page: `window.Backwire`, or the default export of the ES module.

import {attempt} from './attempt.js';
import {Runtime} from './runtime.js';

// `core` makes the parts in wasm (see `wasm.js`). `page` is the window. `url` is the default server
// of `install`.
export function makeBackwire(core, page, url) {
  let runtime = null;
  let isDebugging = false;
  // Installs again, with other options.
  let reinstall;
  // Functions of `<backwire-status>` elements, which are called when the status changes. They are
  // not among the handlers of the page: one that throws would hold them up, and `off` remove them.
  const watchers = new Set();
  // The handlers for events of back ends, by event name; `null` for ignored events.
  const handlers = {__proto__: null};

  const backwire = {
    // The state of the connection: `state` is "online", "connecting" or "offline", `unsent` counts
    // the waiting writes.
    status: {state: 'offline', unsent: 0},

    // The error, if Backwire could not start or has failed. The page then works as without
    // Backwire.
    error: null,

    // The page's own `sync`, for models and collections that stay on plain Ajax:
    // `sync: Backwire.ajaxSync`.
    ajaxSync(...args) {
      return (runtime?.originalSync ?? page.Backbone?.sync).apply(this, args);
    },

    // Backwire's `sync`, for models and collections of an app with another `Backbone.sync`:
    // `sync: Backwire.sync`.
    sync(...args) {
      return (runtime?.sync ?? page.Backbone?.sync).apply(this, args);
    },

    // Replaces `Backbone.sync` and, unless `connect` is false, connects. Accepts a module namespace
    // (`import *`) whose default export is Backbone.
    install(Backbone, options = {}) {
      backwire.uninstall();
      const library = Backbone?.default?.Model ? Backbone.default : Backbone;
      // A former token is of the former user, and so is other auth.
      const {token} = options;
      reinstall = about => backwire.install(library, {...options, connect: true, auth: null, token: token?.call && token, ...about});
      const {bind, unbind} = library.Events;
      // Backbone before 0.9 has no `on` and `off`.
      Object.assign(backwire, {on: bind, off: unbind}, library.Events);
      try {
        backwire.error = null;
        start(library, options);
      } catch (error) {
        backwire.error = error;
        console.warn('Backwire could not start:', error);
      }
      return backwire;
    },

    // Events that back ends send to the user of the page.
    socket: {
      // Sets the handler of an event, at any time. It stays for this installation and later ones.
      on(event, handler) {
        handlers[event] = handler;
        runtime?.handlersChanged();
        return this;
      },

      // Drops events of this name.
      ignore(event) {
        return this.on(event, null);
      }
    },

    // Restores Backbone. Aborts requests without a reply.
    uninstall() {
      const former = runtime;
      runtime = null;
      former?.end();
      follow({state: 'offline', unsent: 0});
      return backwire;
    },

    // Whether a model, or a model of a collection, has a write without an answer.
    isPending(target) {
      const models = [target, ...target.models ?? []];
      return Boolean(runtime?.outbox.writes.some(({model}) => model && models.includes(model)));
    },

    // The writes without an answer, oldest first: `{method, url, body, model}`.
    pending() {
      return (runtime?.outbox.writes ?? []).map(({method, url, body, model}) => ({method, url, body, model: model ?? null}));
    },

    // Drops all of them.
    clear() {
      runtime?.outbox.clear();
      return backwire;
    },

    // Connects, and catches up after a `disconnect`. `token` and `auth` replace those of `install`.
    // For another `identity` everything begins again, because a user must not send the writes of
    // another.
    connect(about = {}) {
      const {token, auth, identity} = about;
      if (runtime && (`${identity ?? runtime.identity}` !== runtime.identity || token?.call && !runtime.isAsked)) return reinstall(about);
      if ((token ?? auth) !== undefined) runtime?.setAuth(about);
      runtime?.connect();
      return backwire;
    },

    // Goes offline on purpose. Writes wait until `connect`.
    disconnect() {
      runtime?.disconnect();
      return backwire;
    },

    // Logs each frame of the connection on the console, or ends that.
    debug(isOn = true) {
      isDebugging = isOn;
      runtime?.debug(isOn);
      return backwire;
    },

    // Stops the updates of a collection or model until it is fetched again.
    stop(target) {
      runtime?.stop(target);
      return backwire;
    }
  };

  function start(library, options) {
    let started = null;
    const settings = {...options, url: options.url || url || '/', handlers};
    started = new Runtime(library, core, settings, page, (event, about) => {
      if (started !== runtime) return;
      // Kept writes may be reported during the start.
      backwire.error = started?.error ?? null;
      if (event === 'status') follow(about);
      else fire(event, about);
    });
    runtime = started;
    runtime.debug(isDebugging);
    defineElement(page, core, backwire, watchers);
    if (options.connect !== false) runtime.connect();
  }

  function follow(status) {
    const {state, unsent} = backwire.status;
    if (status.state === state && status.unsent === unsent) return;
    backwire.status = status;
    for (const watch of watchers) attempt(watch);
    fire('status', status);
  }

  // A handler that throws must not keep the runtime from what it is about to do.
  function fire(...event) {
    attempt(() => backwire.trigger(...event));
  }

  return backwire;
}

// Defines the element `<backwire-status>`, which loads its part when it is used.
function defineElement({customElements, HTMLElement}, {use}, ...about) {
  const name = 'backwire-status';
  if (!customElements || customElements.get(name)) return;
  customElements.define(name, class extends HTMLElement {
    connectedCallback() {
      use('status', part => {
        if (this.isConnected && !this._end) this._end = part?.showStatus(this, ...about);
      });
    }

    disconnectedCallback() {
      this._end?.();
      this._end = null;
    }
  });
}
