// Backbone.sync, over the socket
// ------------------------------
//
// The page's own `sync` does all that Backbone promises: events, callbacks, `wait`, `patch`, what it
// returns. For the length of its call the one thing in it that reaches the network is ours.

// Puts our `sync` in place of the page's and returns the function that takes it out again.
// `ajax(settings, model, options, pageAjax)` is asked instead of `Backbone.ajax`; model and options are
// those that `sync` was given.
export function wrapSync(Backbone, ajax) {
  const original = Backbone.sync;
  let isInstalled = true;

  function sync(method, model, options) {
    const originalSync = () => original.apply(this, arguments);
    if (!isInstalled) return originalSync();
    if (!isRealtime(model, options)) return withAjax(Backbone, pageAjax(Backbone), originalSync);
    const page = pageAjax(Backbone);
    return withAjax(Backbone, settings => ajax(settings, model, options || {}, page), originalSync);
  }
  Backbone.sync = sync;

  // Another script may have wrapped ours since: it keeps what it holds, which then only passes on.
  return function unwrapSync() {
    isInstalled = false;
    if (Backbone.sync === sync) Backbone.sync = original;
  };
}

// `realtime: false` sends a model over the page's own sync. It may be said in the options, on the
// model or on its collection, there or in the class; the nearest counts.
function isRealtime(model, options) {
  const said = [options, model, model && model.collection].find(it => it && it.realtime !== undefined);
  return !said || said.realtime !== false;
}

// Runs `call` with another `Backbone.ajax`. Its first use puts the former back, because the `request`
// event comes after it and a handler may send something that is none of ours.
function withAjax(Backbone, ajax, call) {
  const former = Backbone.ajax;
  if (ajax === former) return call();
  const substitute = function(settings) {
    restore();
    return ajax.call(this, settings);
  };
  substitute.page = pageAjax(Backbone);
  function restore() {
    if (Backbone.ajax === substitute) Backbone.ajax = former;
  }
  Backbone.ajax = substitute;
  try {
    return call();
  } finally {
    restore();
  }
}

// The page's own `Backbone.ajax`, also when asked from within a call, as by a `toJSON` that fetches.
function pageAjax(Backbone) {
  return Backbone.ajax?.page || Backbone.ajax;
}
