// A request and its answer
// ------------------------

// From the call to the answer. What it carries: `kind` (see `kinds.js`), `method`, `url` (path and query), `headers` and
// `body` (JSON text); `model`, and `options` as `sync` got them; `made`, the body as Backbone made it; and where the
// answer goes: to the page's `transport`, or to `onAnswer(status, body, headers)`, or only into the model. While it
// is on its way it has a `token` and a `key`. A create has a `pending`; one that a former save was merged into,
// those that it answers as well in `merged`. What an earlier page has made `isRestored`.
export class Exchange {
  constructor(fields) {
    Object.assign(this, {headers: {}, merged: [], options: {}}, fields);
    this.whenAborted = () => {};
    if (this.transport) this.transport.whenAborted = () => this.whenAborted();
  }

  get isRead() {
    return this.method === 'get';
  }

  // Its body is what Backbone made of the model, so it may be merged with another, or cut to what it changes.
  get isMade() {
    return !this.transport || this.body === this.made;
  }

  // As the page aborts it: through what its ajax layer has returned, so that this knows.
  abort() {
    const {xhr} = this.options;
    if (typeof xhr?.abort === 'function') xhr.abort();
    else if (this.transport) this.transport.xhr.abort();
    else this.whenAborted();
  }
}
