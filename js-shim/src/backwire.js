// Backwire
// --------
//
// What a page sees: `window.Backwire`, or the default export of the ES module.

import {Runtime} from './runtime.js';

// `makeClient` makes the core; `page` is the window; `url` is the server that `install` takes if it is
// not told another.
export function makeBackwire(makeClient, page, url) {
  let runtime = null;
  // Of what back ends send, by the names of events.
  const handlers = {__proto__: null};

  const backwire = {
    // How we stand: `state` is "online", "connecting" or "offline", `unsent` counts the writes that wait.
    status: {state: 'offline', unsent: 0},

    // Why Backwire could not start, or failed; the page then works as it did without it.
    error: null,

    // Takes over `Backbone.sync` and, unless `connect` is false, connects.
    install(Backbone, options = {}) {
      backwire.uninstall();
      Object.assign(backwire, Backbone.Events);
      try {
        backwire.error = null;
        let started = null;
        const settings = {...options, url: options.url || url || '/', handlers};
        started = new Runtime(Backbone, makeClient, settings, page, (event, about) => {
          if (started !== runtime) return;
          // What was kept is told of while it starts.
          backwire.error = started?.error ?? null;
          if (event === 'status') follow(about);
          else backwire.trigger(event, about);
        });
        runtime = started;
        if (options.connect !== false) runtime.client.connect();
      } catch (error) {
        backwire.error = error;
        console.warn('Backwire could not start:', error);
      }
      return backwire;
    },

    // What back ends send to the person who uses the page: `Backwire.socket.on('event', handler)`, at any
    // time. A handler stays, for this installation and those to come.
    socket: {
      on(event, handler) {
        handlers[event] = handler;
        runtime?._deliveries.start();
        return this;
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

    // Goes online; after a `disconnect`, comes back and catches up.
    connect() {
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

  function follow(status) {
    const {state, unsent} = backwire.status;
    if (status.state === state && status.unsent === unsent) return;
    backwire.status = status;
    backwire.trigger('status', status);
  }

  return backwire;
}
