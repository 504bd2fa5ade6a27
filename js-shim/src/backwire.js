// Backwire
// --------
//
// What a page sees: `window.Backwire`, or the default export of the ES module.

import {Runtime} from './runtime.js';

// `core` makes the parts in wasm (see `wasm.js`); `page` is the window; `url` is the server that `install` takes if it is
// not given another.
export function makeBackwire(core, page, url) {
  let runtime = null;
  // For what back ends send, by the names of events; `null` for those to ignore.
  const handlers = {__proto__: null};

  const backwire = {
    // The state of the connection: `state` is "online", "connecting" or "offline", `unsent` counts the writes that wait.
    status: {state: 'offline', unsent: 0},

    // Why Backwire could not start, or failed; the page then works as it did without it.
    error: null,

    // The page's own `sync`, for models and collections that stay on plain Ajax: `sync: Backwire.ajaxSync`.
    ajaxSync(...args) {
      return (runtime?.originalSync ?? page.Backbone?.sync).apply(this, args);
    },

    // Ours, for models and collections of an app whose `Backbone.sync` is somebody else's: `sync: Backwire.sync`.
    sync(...args) {
      return (runtime?.sync ?? page.Backbone?.sync).apply(this, args);
    },

    // Takes over `Backbone.sync` and, unless `connect` is false, connects. Of a module namespace, as `import *` makes
    // it, its default export is meant.
    install(Backbone, options = {}) {
      backwire.uninstall();
      const library = Backbone?.default?.Model ? Backbone.default : Backbone;
      Object.assign(backwire, library.Events);
      try {
        backwire.error = null;
        start(library, options);
      } catch (error) {
        backwire.error = error;
        console.warn('Backwire could not start:', error);
      }
      return backwire;
    },

    // What back ends send to the person who uses the page.
    socket: {
      // `Backwire.socket.on('event', handler)`, at any time. A handler stays, for this installation and those to come.
      on(event, handler) {
        handlers[event] = handler;
        runtime?.handlersChanged();
        return this;
      },

      // Events of this name are dropped: this page has no use for them.
      ignore(event) {
        return this.on(event, null);
      }
    },

    // Puts everything back. Requests without a reply are aborted.
    uninstall() {
      const former = runtime;
      runtime = null;
      if (!former) return backwire;
      former.end();
      follow({state: 'offline', unsent: 0});
      return backwire;
    },

    // Goes online; after a `disconnect`, comes back and catches up. `token` replaces the one of `install`.
    connect({token} = {}) {
      if (token !== undefined) runtime?.authenticate(token);
      runtime?.client.connect();
      return backwire;
    },

    // Goes offline on purpose. Writes wait until `connect`.
    disconnect() {
      runtime?.client.disconnect();
      return backwire;
    },

    // This collection or model is no longer live, until it is fetched again.
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
      else backwire.trigger(event, about);
    });
    runtime = started;
    if (options.connect !== false) runtime.client.connect();
  }

  function follow(status) {
    const {state, unsent} = backwire.status;
    if (status.state === state && status.unsent === unsent) return;
    backwire.status = status;
    backwire.trigger('status', status);
  }

  return backwire;
}
