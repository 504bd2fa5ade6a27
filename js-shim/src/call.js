// Calls of Backbone.sync
// ----------------------

import {kindOf} from './kinds.js';

// A call of `sync`, and what becomes known of it until Backbone has set its answer.
export class Call {
  // The arguments of `sync`.
  method;
  model;
  options;

  // Whether the call goes over the socket, and the kind of its request (see `kinds.js`).
  isRealtime;
  kind;

  // Whether a read makes its target live.
  isLive;

  // The body that Backbone made of the model, or undefined if the caller has passed another one.
  made;

  // The page's own factory of the XMLHttpRequest, or null. Its request goes over HTTP, because the
  // page may listen for its progress.
  pageXhr;

  // Whether the page's ajax function has called the factory of the XMLHttpRequest.
  isOpened;

  // The result of the target's `parse`, and whether a `parse` of the page has changed the list.
  parsed;
  isMapped;

  // The models that Backbone made of the answer.
  models;

  // The kind is decided now, because the page may change the model before the request is sent.
  // `isOptIn` is true if models go over plain Ajax by default.
  constructor(method, model, options, isOptIn) {
    Object.assign(this, {method, model, options});
    const realtime = setting('realtime', model, options);
    this.isRealtime = isOptIn ? Boolean(realtime) : realtime !== false;
    this.isLive = setting('live', model, options) !== false;
    this.kind = kindOf(method, model, options);
  }
}

// `realtime: false` sends a model over plain Ajax, and `live: false` reads it once. A setting may
// be in the options, on the model, on its collection or in their classes. The nearest one counts.
function setting(name, model, options) {
  return [options, model, model?.collection].find(it => it && it[name] !== undefined)?.[name];
}
