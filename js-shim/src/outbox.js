// Requests on their way
// ---------------------
//
// The core keeps the order, sends again and knows what was done; here is
// what a request means for the page: which model it is of, what may be merged with it or has to wait for
// it, what has to survive a reload, and who gets the answer.
//
// Answers are for the `Receiver`; what is needed of writes that had waited is in `waited.js`.

import {asPatch, attributesOf, nameRecord} from './edits.js';
import {Exchange} from './exchange.js';
import {CREATE, OPAQUE} from './kinds.js';
import {PendingCreate} from './pending-create.js';
import {isPlain} from './records.js';

// How a request gets to the server, as the core numbers it.
export const NEW = 0;
export const RESTORED = 1;
const ELSEWHERE = 2;

export class Outbox {
  // `session` starts the idempotency keys.
  constructor(runtime, kept, session) {
    Object.assign(this, {runtime, kept, session});
    // Requests without an answer, by token.
    this._exchanges = new Map();
    this._made = 0;
  }

  // The writes that an earlier page has kept are sent first. Until they are restored, requests of this page wait.
  start() {
    if (!this.kept.itemNames.length) return;
    this._held = [];
    this.runtime.extras.use(extras => {
      if (this._held) extras?.restore(this);
      const held = this._held ?? [];
      this._held = null;
      for (const exchange of held) this.ask(exchange);
    });
  }

  // Asking
  // ------

  // Takes a request of the page.
  ask(exchange) {
    if (this._held) return this._hold(exchange);
    const {model, isRead, kind} = exchange;
    const {live} = this.runtime;
    if (isRead) live?.isReading(model, true);
    else if (live && kind !== OPAQUE) live.willWrite(exchange);
    asPatch(exchange, this._baseOf(model));
    exchange.body = nameRecord(exchange);
    this.send(exchange);
    if (isRead && this.hasRestored) Promise.resolve().then(() => this.runtime.showKept(exchange));
  }

  _hold(exchange) {
    this._held.push(exchange);
    exchange.whenAborted = () => { this._held = this._held?.filter(held => held !== exchange); };
  }

  // The record as the server has it, but for what is on its way there: that is saved again.
  _baseOf(model) {
    const record = this.runtime.live?.recordOf(model);
    const base = record && {...record};
    for (const {body, isRead} of base ? this.of(model) : []) if (!isRead) for (const name in attributesOf(body)) delete base[name];
    return base;
  }

  // A model whose create is on its way is not created again: what it asks for meanwhile waits.
  send(exchange) {
    const create = exchange.kind === CREATE && this.of(exchange.model).find(({pending}) => pending);
    if (!create || this._merge(create, exchange)) return this.begin(exchange, NEW);
    create.pending.delay(exchange);
    this.keep(create);
  }

  begin(exchange, kind, key) {
    const {method, url, body, headers: {'idempotency-key': own, ...headers}} = exchange;
    const token = exchange.token = this._made += 1;
    exchange.key = key ?? own ?? `${this.session}-${token}`;
    exchange.whenAborted = () => this._aborted(exchange);
    this._exchanges.set(token, exchange);
    if (exchange.kind === CREATE) this.await(exchange);
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

  // The page sends a write itself, by a request of its own. Until that is answered its echo waits.
  expect(exchange) {
    this.begin(exchange, ELSEWHERE);
  }

  await(create) {
    create.pending = new PendingCreate(create, this.runtime, () => this._withdrawn(create));
  }

  // A create that has not left takes in what is saved after it: one create is all the server sees, and
  // its reply answers both.
  _merge(create, exchange) {
    const isSameForm = create.isMade && exchange.isMade && create.url === exchange.url;
    if (!isSameForm || !this.runtime.client.withdraw(create.token)) return false;
    this.over(create);
    create.pending.end();
    exchange.made = exchange.body = JSON.stringify({...attributesOf(create.body), ...attributesOf(exchange.body)});
    exchange.merged = [...create.merged, create];
    create.merged = [];
    return true;
  }

  // Keeping
  // -------

  // The exchange is answered or withdrawn: it is no longer tracked or kept.
  over({token, key}) {
    this._exchanges.delete(token);
    this.kept.forget(key);
  }

  // Keeps a write that cannot be sent now, with the whole record for the next page to show.
  keep(exchange) {
    const {model, body, kind, pending, isRead, isElsewhere, token} = exchange;
    if (this.isOnline || isRead || isElsewhere || !this._exchanges.has(token)) return;
    let {record} = exchange;
    if (kind !== OPAQUE && model && isPlain(attributesOf(body))) {
      record = {...this.runtime.live?.recordOf(model)};
      for (const write of [...this.of(model), {body: pending?.next}]) {
        if (!write.isRead && write.kind !== OPAQUE) Object.assign(record, attributesOf(write.body));
      }
    }
    this.kept.keep({...exchange, record, next: pending?.next});
  }

  // Withdrawing
  // -----------

  // A model was destroyed before its create was answered. If that never left, it never happened.
  _withdrawn(create) {
    if (!this._exchanges.has(create.token)) return;
    if (!this.runtime.client.withdraw(create.token)) return this.keep(create);
    this.over(create);
    for (const exchange of [...create.merged, create]) exchange.abort();
  }

  // Saves that were merged into an aborted one, or wait for it, are sent all the same.
  _aborted(exchange) {
    const {token, merged, pending, model, isRead} = exchange;
    if (!this._exchanges.has(token)) return;
    this.over(exchange);
    this.runtime.client.abort(token);
    for (const other of [...merged, ...pending?.end() ?? []]) this.send(other);
    if (isRead) this.runtime.live?.isReading(model, false);
    this.runtime.wasAnswered();
  }

  // Aborts all requests. The kept writes stay as they are.
  abortAll() {
    this.kept.forget = this.kept.keep = () => {};
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

  // Who waits for what
  // ------------------

  // Whatever waits when the line breaks has to survive the page.
  setOnline(isOnline) {
    this.isOnline = isOnline;
    this.all.forEach(exchange => this.keep(exchange));
  }

  // Requests without an answer.
  get all() {
    return [...this._exchanges.values()];
  }

  get(token) {
    return this._exchanges.get(token);
  }

  isReading() {
    return this.all.some(({isRead}) => isRead);
  }

  isWriting(model) {
    for (const exchange of this._exchanges.values()) if (exchange.model === model && !exchange.isRead) return true;
    return false;
  }

  // The unanswered requests of a model.
  of(model) {
    return this.all.filter(exchange => model && exchange.model === model);
  }
}
