// Backbone.sync, over the socket
// ------------------------------
//
// The page's own `sync` and the page's own ajax layer do all that they ever did: events, callbacks, `wait`,
// `patch`, headers, prefilters, what the call returns. Only where they would make an XMLHttpRequest
// do they get ours (see `Transport`).

import {isPlain} from './records.js';

const isOurs = Symbol();

// Puts our `sync` in place of the page's. Returns the page's, ours, and the function that takes ours out again.
// `runtime.begin(call)` gets each call, `{method, model, options, isRealtime}`, and returns what makes the call's
// XMLHttpRequest; `runtime.ajax(settings)` is for pages that have no ajax function.
export function wrapSync(Backbone, runtime) {
  const original = Backbone.sync;
  // Ajax functions of the page that make their requests in some other way.
  const strangers = new WeakSet();
  let isInstalled = true;

  function sync(method, model, options = {}) {
    if (!isInstalled || isFunction(options.xhr) && !options.xhr[isOurs]) return original.apply(this, arguments);
    const call = {method, model, options, isRealtime: isRealtime(model, options)};
    const makeXhr = runtime.begin(call);
    const factory = options.xhr = () => {
      call.isOpened = true;
      return makeXhr();
    };
    factory[isOurs] = true;
    call.made = madeBefore(Backbone, call);
    try {
      return withAjax(Backbone, settings => send(settings, call, pageAjax(Backbone)), () => original.call(this, method, model, options));
    } finally {
      if (options.xhr === factory) delete options.xhr;
    }
  }

  function send(settings, call, page) {
    call.made ??= madeBy(settings, call.options);
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

  function isStranger(page, result) {
    const isJqXhr = isFunction(result?.getAllResponseHeaders) && isFunction(result.done);
    if (!isJqXhr) return true;
    return result.readyState > 0 && result.state() === 'pending' && !/\$\.ajax\.apply/.test(page);
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

// Where the namespace is frozen, models and collections get it instead.
function put(Backbone, sync) {
  const holders = isExtensible(Backbone) ? [Backbone] : [Backbone.Model.prototype, Backbone.Collection.prototype];
  const former = holders.map(holder => holder.sync);
  for (const holder of holders) holder.sync = holder === Backbone ? sync : function(...args) { return sync.apply(this, args); };
  const own = holders.map(holder => holder.sync);
  return () => holders.forEach((holder, index) => {
    if (holder.sync === own[index]) holder.sync = former[index];
  });
}

// A namespace of `import *` says that its members are writable, and throws when they are written to.
function isWritable(namespace) {
  return namespace[Symbol.toStringTag] !== 'Module';
}

// `realtime: false` sends a model over plain Ajax. It may be set in the options, on the model or on its
// collection, there or in the class; the nearest counts.
function isRealtime(model, options) {
  const nearest = [options, model, model && model.collection].find(it => it && it.realtime !== undefined);
  return !nearest || nearest.realtime !== false;
}

// The body that Backbone makes of a model. Where it has an ajax function of its own it is seen there; before
// 0.9.9 it has none, and the body is made here once more.
function madeBefore(Backbone, {method, model, options}) {
  if (Backbone.ajax && isExtensible(Backbone) || options.data != null || !/^(create|update)$/.test(method) || !model) return undefined;
  return JSON.stringify(options.attrs || model.toJSON());
}

function madeBy({data}, options) {
  if (options.data != null) return undefined;
  return isPlain(data) ? data.model : data;
}

// Runs `call` with another `Backbone.ajax`. Its first use puts the former back, because the `request`
// event comes after it and a handler may send something that is none of ours.
function withAjax(Backbone, ajax, call) {
  const former = Backbone.ajax;
  if (!former || !isExtensible(Backbone)) return call();
  const substitute = function(settings) {
    restore();
    return ajax(settings);
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

// Can its members be replaced?
function isExtensible(Backbone) {
  return !Object.isFrozen(Backbone) && isWritable(Backbone);
}

function isFunction(value) {
  return typeof value === 'function';
}
