// Pending requests
// ----------------
//
// The core orders the requests, sends them again and recognizes repeated writes. The outbox knows
// what a request means for the page: its model, the requests that may be merged with it or have to
// wait for it, and the writes that have to survive a reload.
//
// The `Receiver` handles the answers, and `kept-writes.js` the writes of earlier pages.

import {attempt} from './attempt.js';
import {reduceToPatch, attributesOf, bodyWithId} from './edits.js';
import {Exchange} from './exchange.js';
import {CREATE, OPAQUE} from './kinds.js';
import {PendingCreate} from './pending-create.js';
import {isPlain} from './records.js';
import {IDEMPOTENCY_KEY} from './wire.js';

// The kinds of request, as the core numbers them: a request of this page, a write of an earlier
// page, and a write that the page's own XMLHttpRequest sends.
export const NEW = 0;
export const RESTORED = 1;
export const SENT_BY_PAGE = 2;

export class Outbox {
  // `session` is the prefix of the idempotency keys.
  constructor(runtime, kept, session) {
    Object.assign(this, {runtime, kept, session});
    // Requests without an answer, by token.
    this._exchanges = new Map();
    this._made = 0;
  }

  // Sends the writes that an earlier page has kept first. Requests of this page wait until these
  // are restored.
  start() {
    if (!this.kept.itemNames.length) return;
    this._held = [];
    const release = () => {
      const held = this._held ?? [];
      this._held = null;
      for (const exchange of held) this.submit(exchange);
    };
    this.runtime.use('extra', extras => {
      if (this._held && extras) extras.restore(this, release);
      else release();
    });
  }

  // New requests
  // ------------

  // Sends a request of the page.
  submit(exchange) {
    if (this._isSteppedAside) return this.runtime.divert(exchange);
    if (this._held) return this._hold(exchange);
    const {model, isRead, kind} = exchange;
    const {live} = this.runtime;
    if (isRead) live?.setReading(model, true);
    else if (live && kind !== OPAQUE) attempt(() => live.prepareRollback(exchange));
    this.sendEdits(exchange, live?.store.baseOf(model, this, exchange));
    if (isRead && this.hasRestored) Promise.resolve().then(() => this.runtime.showKept(exchange));
  }

  _hold(exchange) {
    this._held.push(exchange);
    exchange.whenAborted = () => { this._held = this._held?.filter(held => held !== exchange); };
  }

  // Sends a save as a patch of the attributes that differ from `base`; other requests unchanged.
  sendEdits(exchange, base) {
    reduceToPatch(exchange, base);
    exchange.body = bodyWithId(exchange);
    this.send(exchange);
  }

  // A model whose create is pending is not created again. Its further saves wait for the answer.
  send(exchange) {
    const create = exchange.kind === CREATE && this.requestsOf(exchange.model).find(({pendingCreate}) => pendingCreate);
    if (!create || this._merge(create, exchange)) return this.begin(exchange, NEW);
    create.pendingCreate.delay(exchange);
    this.keep(create);
  }

  // Makes an `Exchange` for modules of the other scripts, which do not contain the class.
  makeExchange(fields) {
    return new Exchange(fields);
  }

  // Passes a request to the core. `kind` is one of the constants above. `key` is the idempotency
  // key of a restored write.
  begin(exchange, kind, key) {
    const {method, url, body, headers: {[IDEMPOTENCY_KEY]: own, ...headers}} = exchange;
    const token = exchange.token = this._made += 1;
    exchange.key = key ?? own ?? `${this.session}-${token}`;
    exchange.whenAborted = () => this._aborted(exchange);
    this._exchanges.set(token, exchange);
    if (exchange.kind === CREATE) this.trackCreate(exchange);
    exchange.isBeginning = true;
    const text = Object.keys(headers).length ? JSON.stringify(headers) : undefined;
    try {
      this.runtime.client.request(token, method, url, text, body, key ?? own, kind);
    } catch (error) {
      if (this.runtime.isTrap(error)) this.runtime.fail(error);
      else this.runtime.finish(token, 0, String(error));
    }
    exchange.isBeginning = false;
    this.keep(exchange);
  }

  // Later saves of the model wait for the answer to this create.
  trackCreate(create) {
    create.pendingCreate = new PendingCreate(create, this.runtime, () => this._withdraw(create));
  }

  // Merges a save into the create of the same model, if that was not sent yet. The server gets one
  // create, and its reply answers both.
  _merge(create, exchange) {
    const isSameForm = create.isMade && exchange.isMade && create.url === exchange.url;
    if (!isSameForm || !this.runtime.client.withdraw(create.token)) return false;
    this.removeExchange(create);
    create.pendingCreate.end();
    // A body is the whole model, unless its call has set `attrs` or `wait`.
    exchange.isPartial = create.isPartial || create.options.wait || exchange.options.attrs;
    if (exchange.isPartial) exchange.made = exchange.body = JSON.stringify({...attributesOf(create.body), ...attributesOf(exchange.body)});
    exchange.mergedCreates = [...create.mergedCreates, create];
    create.mergedCreates = [];
    return true;
  }

  // From now on the page's own XMLHttpRequests send the requests of the page.
  stepAside() {
    this._isSteppedAside = true;
  }

  // Kept writes
  // -----------

  // The exchange is answered or withdrawn: it is no longer tracked or kept.
  removeExchange({token, key}) {
    this._exchanges.delete(token);
    this.kept.forget(key);
  }

  // Keeps a write that cannot be sent now, with the whole record for the next page to show.
  keep(exchange) {
    const {model, body, kind, pendingCreate, isRead, isSentByPage, token} = exchange;
    if (this.isOnline || isRead || isSentByPage || !this._exchanges.has(token)) return;
    let {record} = exchange;
    if (kind !== OPAQUE && model && isPlain(attributesOf(body))) {
      record = {...this.runtime.live?.store.recordOf(model)};
      for (const write of [...this.requestsOf(model), {body: pendingCreate?.next}]) {
        if (!write.isRead && write.kind !== OPAQUE) Object.assign(record, attributesOf(write.body));
      }
    }
    this.kept.keep({...exchange, record, next: pendingCreate?.next});
    this._queued(exchange);
  }

  // Reports once that a write waits, after the call of the page has returned.
  _queued(exchange) {
    if (exchange.isQueued !== undefined) return;
    exchange.isQueued = false;
    Promise.resolve().then(() => {
      if (!this._exchanges.has(exchange.token)) return;
      exchange.isQueued = true;
      this.runtime.tell('queued', exchange);
    });
  }

  // Withdrawn requests
  // ------------------

  // Called when a model is destroyed before its create is answered. A create that was not sent is
  // withdrawn.
  _withdraw(create) {
    if (!this._exchanges.has(create.token)) return;
    if (!this.runtime.client.withdraw(create.token)) return this.keep(create);
    this.removeExchange(create);
    for (const exchange of [...create.mergedCreates, create]) exchange.abort();
  }

  // Saves that were merged into an aborted exchange, or wait for it, are still sent.
  _aborted(exchange) {
    const {token, mergedCreates, pendingCreate} = exchange;
    if (!this._exchanges.has(token)) return;
    this.removeExchange(exchange);
    this.runtime.client.abort(token);
    for (const other of [...mergedCreates, ...pendingCreate?.end() ?? []]) this.send(other);
    // A query that Backwire has sent again has no model.
    if (exchange.model) this.runtime.live?.wasAborted(exchange);
    this.runtime.wasAnswered();
  }

  // Aborts all requests. The kept writes stay as they are.
  abortAll() {
    this.kept.freeze();
    this._held?.forEach(exchange => exchange.abort());
    this._held = null;
    // An abort may send the saves that waited for the aborted create.
    while (this._exchanges.size) {
      for (const exchange of this.all) {
        exchange.abort();
        this._exchanges.delete(exchange.token);
      }
    }
  }

  // Drops all writes of the page, and those that it has kept. Their calls are aborted.
  clear() {
    for (let writes; (writes = this.writes).length;) {
      // A save that waits for a create comes after it, and must not be sent when that is gone.
      for (const exchange of writes.reverse()) exchange.abort();
    }
  }

  // Connection state and lookup
  // ---------------------------

  // Keeps the pending writes when the connection breaks, so that they survive the page.
  setOnline(isOnline) {
    this.isOnline = isOnline;
    this.all.forEach(exchange => this.keep(exchange));
  }

  // Requests without an answer.
  get all() {
    return [...this._exchanges.values()];
  }

  // The writes without an answer, oldest first, with those that wait for a create.
  get writes() {
    const held = this._held ?? [];
    const all = [...this.all, ...held].flatMap(exchange => [exchange, ...exchange.pendingCreate?.delayed ?? []]);
    return all.filter(({isRead, isSentByPage}) => !isRead && !isSentByPage);
  }

  get(token) {
    return this._exchanges.get(token);
  }

  isWriting(model) {
    for (const exchange of this._exchanges.values()) if (model && exchange.model === model && !exchange.isRead) return true;
    return false;
  }

  // The unanswered requests of a model.
  requestsOf(model) {
    return this.all.filter(exchange => model && exchange.model === model);
  }
}
