// Requests and their answers
// --------------------------

import {attempt} from './attempt.js';
import {OPAQUE} from './kinds.js';

// A request of the page, of an earlier page or of Backwire itself, from its call to its answer.
export class Exchange {
  // The kind of the request, from `kinds.js`. It decides whether it may be merged or changed.
  kind = OPAQUE;

  // The verb in lower case.
  method;

  // The path and query.
  url;

  // The headers, by their names in lower case.
  headers = {};

  // The body as JSON text, or undefined.
  body;

  // The body that Backbone made of the model. `body` differs if the page has changed it.
  made;

  // The model or collection of the call, if it is known.
  model;

  // The options of the call, as `sync` got them.
  options = {};

  // The destination of the answer: the page's `Transport`, a function
  // `onAnswer(status, body, headers)`, or only the model if there is neither.
  transport;
  onAnswer;

  // The `Call` of the page, unless an earlier page or Backwire has made the request.
  call;

  // Whether the page's own XMLHttpRequest sends the request.
  isSentByPage;

  // Whether an earlier page has made the request. Then `record` is the whole record after the
  // write, and `next` the save that waits for it (see `PendingCreate`).
  isRestored;
  record;
  next;

  // The number by which the core knows the request, and the idempotency key. Both are set when the
  // request begins.
  token;
  key;

  // Whether the call that hands the request to the core is still running.
  isBeginning;

  // The `PendingCreate` of a create that has begun.
  pendingCreate;

  // The creates that were merged into this one, and get its answer. `isPartial` is true if the body
  // of one of them was not the whole model.
  mergedCreates = [];
  isPartial;

  // Whether the page has stopped the target of this read. Then the answer does not make it live.
  isStopped;

  // The `Answer` to a read.
  answer;

  // For a rollback of this write: `{resource, holders, places}`, the resource, the collections that
  // held the destroyed model, and its places in them.
  rollback = {};

  // Whether an answer to a read was shown with this write on top of its records.
  isShownOnTop;

  // Whether the page was told that this write waits; undefined while it does not wait.
  isQueued;

  // Called when the page aborts the request.
  whenAborted = () => {};

  // `fields` has the fields that are known at the call.
  constructor(fields) {
    Object.assign(this, fields);
    this.call ??= this.transport?.call;
    if (this.transport) this.transport.whenAborted = () => this.whenAborted();
  }

  get isRead() {
    return this.method === 'get';
  }

  // Whether the body is the one that Backbone made of the model. Such an exchange may be merged
  // with another, or reduced to a patch.
  get isMade() {
    return !this.transport || this.body === this.made;
  }

  // Whether the model shows the record that this write has been answered with. `Backbone.sync`
  // alone sets no answer: a model may be written to another url and still show its own record.
  get isShownByModel() {
    const {kind, models} = this.call ?? this;
    return kind !== OPAQUE || Boolean(models);
  }

  // Aborts through the object that the page's ajax layer has returned, so that the ajax layer
  // knows. A callback of the page may throw.
  abort() {
    const {transport, options: {xhr}} = this;
    attempt(() => {
      if (typeof xhr?.abort === 'function') xhr.abort();
      else if (transport) transport.xhr.abort();
      else this.whenAborted();
    });
  }
}
