// A request and its answer
// ------------------------

import {isPlain} from './records.js';
import {isSuccess} from './request.js';

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

  // Hands the answer over; status 0 with the reason as its body means that there is none.
  respond(status, body, headers) {
    if (this.transport) this.transport.respond(status, textOf(body, headers), headers);
    else if (this.model && !this.isElsewhere && isSuccess(status)) show(this.model, body);
    for (const exchange of this.merged) exchange.respond(status, body, headers);
  }
}

// What Backbone does with the answer to a save, where no callback of Backbone's does.
function show(model, body) {
  if (isPlain(body)) model.set(model.parse(body, {parse: true}), {realtime: true});
}

function textOf(body, headers = {}) {
  if (body === undefined) return '';
  const isText = typeof body === 'string' && !/\bjson/.test(headers['content-type']);
  return isText ? body : JSON.stringify(body);
}
