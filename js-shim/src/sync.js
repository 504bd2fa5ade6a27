// Backbone.sync, over the socket
// ------------------------------
//
// The page's own `sync` and the page's own ajax layer do all that they ever did: events, callbacks, `wait`,
// `patch`, headers, prefilters, what the call returns. Only where they would make an XMLHttpRequest
// do they get ours (see `Transport`).

// Puts our `sync` in place of the page's. Returns the page's, ours, and the function that takes ours out again.
// `runtime.begin(call)` gets each call, `{method, model, options, isRealtime}`, and returns what makes the call's
// XMLHttpRequest; `runtime.ajax(settings)` is for pages that have no ajax function.
export function wrapSync(Backbone, runtime) {
  const original = Backbone.sync;
  const factories = new WeakSet();
  // Ajax functions of the page that make their requests in some other way.
  const strangers = new WeakSet();
  let isInstalled = true;

  function sync(method, model, options = {}) {
    const {xhr} = options;
    if (!isInstalled || typeof xhr === 'function' && !factories.has(xhr)) return original.apply(this, arguments);
    const call = {method, model, options, isRealtime: isRealtime(model, options)};
    const makeXhr = runtime.begin(call);
    const factory = options.xhr = () => {
      call.isOpened = true;
      return makeXhr();
    };
    factories.add(factory);
    try {
      return withAjax(call, () => original.call(this, method, model, options));
    } finally {
      if (options.xhr === factory) delete options.xhr;
    }
  }

  // Runs a call with another `Backbone.ajax`. Its first use puts the former back, because the `request` event comes after
  // it and a handler may send something that is none of ours. Before 0.9.9 there is none, and a namespace may be frozen.
  function withAjax(call, run) {
    const former = Backbone.ajax;
    // The page's own, also when asked from within a call, as by a `toJSON` that fetches.
    const page = former?.page || former;
    const restore = () => { if (Backbone.ajax === substitute) Backbone.ajax = former; };
    const substitute = settings => {
      restore();
      return send(settings, call, page);
    };
    substitute.page = page;
    if (!former || !assign(Backbone, 'ajax', substitute)) {
      call.made = bodyOf(call);
      return run();
    }
    try {
      return run();
    } finally {
      restore();
    }
  }

  function send(settings, call, page) {
    call.made ??= call.options.data == null ? settings.data?.model ?? settings.data : undefined;
    if (!call.isRealtime) return page.call(Backbone, settings);
    if (strangers.has(page)) return runtime.ajax(settings);
    let result;
    try {
      result = page.call(Backbone, settings);
    } catch (error) {
      // Backbone's own ajax function, on a page without jQuery.
      if (call.isOpened || Backbone.$?.ajax) throw error;
      return runtime.ajax(settings);
    }
    if (!call.isOpened && isStranger(page, result)) {
      strangers.add(page);
      runtime.adopt(call, settings);
    }
    return result;
  }

  const restore = put(Backbone, sync);
  return {
    originalSync: original,
    sync,
    // Another script may have wrapped ours since: it keeps what it holds, which then only passes on.
    unwrapSync() {
      isInstalled = false;
      restore();
    }
  };
}

// `realtime: false` sends a model over plain Ajax. It may be set in the options, on the model or on its
// collection, there or in the class; the nearest counts.
function isRealtime(model, options) {
  return [options, model, model?.collection].find(it => it && it.realtime !== undefined)?.realtime !== false;
}

// Has an ajax function sent something by itself, rather than refused to or handed it to a transport of jQuery's?
function isStranger(page, result) {
  // jQuery before 1.8 returns false where `beforeSend` cancels.
  if (result === false) return false;
  if (!result?.getAllResponseHeaders || !result.done) return true;
  return result.readyState > 0 && result.state?.() === 'pending' && !/\$\.ajax\.apply/.test(page);
}

// The body that Backbone makes of a model.
function bodyOf({method, model, options}) {
  return options.data == null && /create|update|patch/.test(method) ? JSON.stringify(options.attrs || model.toJSON()) : undefined;
}

// Where the namespace is frozen, models and collections get our `sync` instead. Returns what takes it out again.
function put(Backbone, sync) {
  let holders = [Backbone];
  let formers = [Backbone.sync];
  if (!assign(Backbone, 'sync', sync)) {
    holders = [Backbone.Model.prototype, Backbone.Collection.prototype];
    formers = holders.map(holder => holder.sync);
    for (const holder of holders) holder.sync = sync;
  }
  return () => holders.forEach((holder, index) => { if (holder.sync === sync) holder.sync = formers[index]; });
}

// Can it be written to?
function assign(object, name, value) {
  try {
    object[name] = value;
  } catch {}
  return object[name] === value;
}
