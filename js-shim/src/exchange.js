// A request and its answer
// ------------------------

// A request, from the call to its answer:
//
// - `kind` (see `kinds.js`), `method`, `url` (path and query), `headers`, `body` (JSON text);
// - `model`; `options`, as `sync` got them; `made`, the body as Backbone made it;
// - the destination of the answer: the page's `transport`, or `onAnswer(status, body, headers)`, or
//   only the model;
// - `token` and `key`, while it is pending;
// - `pending`, the `PendingCreate` of a create; `merged`, the former saves that it answers as well;
// - `isRestored`, if an earlier page has made it.
export class Exchange {
  constructor(fields) {
    Object.assign(this, {headers: {}, merged: [], options: {}}, fields);
    this.whenAborted = () => {};
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

  // Aborts through the object that the page's ajax layer has returned, so that the ajax layer
  // knows.
  abort() {
    const {xhr} = this.options;
    if (typeof xhr?.abort === 'function') xhr.abort();
    else if (this.transport) this.transport.xhr.abort();
    else this.whenAborted();
  }
}
