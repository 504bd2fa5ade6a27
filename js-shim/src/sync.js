// Backbone.sync, over the socket
// ------------------------------
//
// The page's own `sync` and ajax layer keep doing what they did: events, callbacks, `wait`,
// `patch`, headers, prefilters, the returned object. Only the XMLHttpRequest is replaced (see
// `Transport`).

import {adoptStores} from './adopt.js';
import {Call} from './call.js';

// Replaces the page's `sync`. Returns the page's, Backwire's, and a function that restores the
// page's. `runtime.begin(call)` gets each `Call` and returns the factory of its XMLHttpRequest.
// `runtime.ajax(settings)` is for pages that have no ajax function. `runtime.adopt` has urls for
// stores of `localStorage` plugins (see `adopt.js`).
export function wrapSync(Backbone, runtime) {
  const original = Backbone.sync;
  const factories = new WeakSet();
  // Ajax functions of the page that do not use `settings.xhr`.
  const ignoringXhr = new WeakSet();
  let isInstalled = true;

  function sync(method, model, options = {}) {
    const {xhr} = options;
    const own = stores.isAdopted(model) ? stores.ajaxSync : original;
    if (!isInstalled) return own.apply(this, arguments);
    const call = new Call(method, model, options, runtime.isOptIn);
    call.pageXhr = pageXhrOf(factories.has(xhr) ? null : xhr, Backbone.$?.ajaxSettings?.xhr);
    const makeXhr = runtime.begin(call);
    const factory = options.xhr = () => {
      call.isOpened = true;
      return makeXhr();
    };
    factories.add(factory);
    try {
      return withAjax(call, () => own.call(this, method, model, options));
    } finally {
      if (options.xhr === factory) {
        if (xhr && !factories.has(xhr)) options.xhr = xhr;
        else delete options.xhr;
      }
    }
  }

  // Runs a call with another `Backbone.ajax`. The first use restores the former one, because
  // Backbone fires `request` after it and a handler may send an unrelated request. Backbone before
  // 0.9.9 has no `ajax`, and a frozen namespace cannot be changed.
  function withAjax(call, run) {
    const former = Backbone.ajax;
    // The page's own function, also in a nested call, such as by a `toJSON` that fetches.
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
    if (ignoringXhr.has(page)) return runtime.ajax(settings);
    let result;
    try {
      result = page.call(Backbone, settings);
    } catch (error) {
      // Backbone's own ajax function throws on a page without jQuery.
      if (call.isOpened || Backbone.$?.ajax) throw error;
      return runtime.ajax(settings);
    }
    if (!call.isOpened && hasIgnoredXhr(page, result)) {
      ignoringXhr.add(page);
      runtime.readAgainOverSocket(call, settings);
    }
    return result;
  }

  const restore = replaceSync(Backbone, sync);
  const stores = adoptStores(Backbone, runtime.adopt, original, sync);
  return {
    originalSync: original,
    sync,
    // Another script may have wrapped this `sync`. It keeps its reference, which then only passes
    // calls on.
    unwrapSync() {
      isInstalled = false;
      stores.restore();
      restore();
    }
  };
}

// The factory of XMLHttpRequests with which the page may listen for progress: that of the options,
// or that of `$.ajaxSetup`, which is jQuery's own on most pages.
function pageXhrOf(own, setup) {
  if (typeof own === 'function') return own;
  return typeof setup === 'function' && /progress/.test(setup) ? setup : null;
}

// Whether an ajax function has sent a request without `settings.xhr`. A function that has refused
// to send it, or has used a transport of jQuery, has not.
function hasIgnoredXhr(page, result) {
  // jQuery before 1.8 returns false where `beforeSend` cancels.
  if (result === false) return false;
  if (!result?.getAllResponseHeaders || !result.done) return true;
  return result.readyState > 0 && result.state?.() === 'pending' && !/\$\.ajax\.apply/.test(page);
}

// The body that Backbone makes of a model.
function bodyOf({method, model, options}) {
  return options.data == null && /create|update|patch/.test(method) ? JSON.stringify(options.attrs || model.toJSON()) : undefined;
}

// Sets `Backbone.sync`, or the `sync` of models and collections if the namespace is frozen. Returns
// a function that restores them.
function replaceSync(Backbone, sync) {
  let holders = [Backbone];
  let formers = [Backbone.sync];
  if (!assign(Backbone, 'sync', sync)) {
    holders = [Backbone.Model.prototype, Backbone.Collection.prototype];
    formers = holders.map(holder => holder.sync);
    for (const holder of holders) holder.sync = sync;
  }
  return () => holders.forEach((holder, index) => { if (holder.sync === sync) holder.sync = formers[index]; });
}

// Sets a property. Returns whether that succeeded.
function assign(object, name, value) {
  try {
    object[name] = value;
  } catch {}
  return object[name] === value;
}
