// Requests on their way
// ---------------------
//
// From Backbone's call to its answer. The core keeps the order, sends again and knows what was done; here is
// what a request means for the page: which model it is of, what may be merged with it or has to wait for
// it, what has to survive a reload, and who gets the answer.

import {attempt} from './attempt.js';
import {asPatch, attributesOf, nameRecord, withEdits} from './edits.js';
import {Exchange} from './exchange.js';
import {CREATE, OPAQUE} from './kinds.js';
import {PendingCreate} from './pending-create.js';
import {isPlain} from './records.js';
import {show} from './unsent.js';

// After this the server's ledger may have forgotten a write, and would do it again.
const LEDGER_MEMORY = 7 * 24 * 3600 * 1000;

// How a request gets to the server, as the core numbers it.
const NEW = 0;
const RESTORED = 1;
const ELSEWHERE = 2;

export class Outbox {
  // `session` starts the idempotency keys.
  constructor(runtime, live, kept, session) {
    Object.assign(this, {_runtime: runtime, _live: live, _kept: kept, session});
    // Requests without an answer, by token.
    this._exchanges = new Map();
    this._made = 0;
    this.isOnline = false;
  }

  // Asking
  // ------

  // Takes a request of the page.
  ask(exchange) {
    const {model, isRead} = exchange;
    if (isRead) this._live.beginRead(model);
    else if (model && exchange.kind !== OPAQUE) exchange.undo = this._live.undo(exchange);
    asPatch(exchange, this._baseOf(model));
    exchange.body = nameRecord(exchange);
    this._send(exchange);
    if (isRead) Promise.resolve().then(() => this._showKept(exchange));
  }

  // The record as the server has it, but for what is on its way there: that is saved again.
  _baseOf(model) {
    const record = this._live.recordOf(model);
    const base = record && {...record};
    if (base) for (const {body, isRead} of this.of(model)) if (!isRead) for (const name in attributesOf(body)) delete base[name];
    return base;
  }

  // A model whose create is on its way is not created again: what it asks for meanwhile waits.
  _send(exchange) {
    const create = exchange.kind === CREATE && this._createOf(exchange.model);
    if (create && !this._merge(create, exchange)) return this._delay(create, exchange);
    this._begin(exchange, NEW);
  }

  _begin(exchange, kind, key) {
    const {method, url, body, headers: {'idempotency-key': own, ...headers}} = exchange;
    const token = exchange.token = this._made += 1;
    exchange.key = key ?? own ?? `${this.session}-${token}`;
    exchange.whenAborted = () => this._aborted(exchange);
    this._exchanges.set(token, exchange);
    if (exchange.kind === CREATE) this._await(exchange);
    try {
      exchange.isBeginning = true;
      const text = Object.keys(headers).length ? JSON.stringify(headers) : undefined;
      this._runtime.client.request(token, method, url, text, body, key ?? own, kind);
    } catch (error) {
      if (this._runtime.isTrap(error)) this._runtime.fail(error);
      else Promise.resolve().then(() => this.finish(token, 0, String(error)));
    } finally {
      exchange.isBeginning = false;
    }
    if (!this.isOnline && kind !== ELSEWHERE && this._exchanges.has(token)) this._keep(exchange);
  }

  // Asks the server for something that the page did not ask for; `onAnswer` gets it.
  request({url, headers}, onAnswer) {
    this._begin(new Exchange({kind: OPAQUE, method: 'get', url, headers, onAnswer}), NEW);
  }

  // The page sends a write itself, by a request of its own. Until `answeredElsewhere` its echo waits for the answer.
  expect(exchange) {
    this._begin(exchange, ELSEWHERE);
  }

  _delay(create, exchange) {
    create.pending.delay(exchange);
    if (!this.isOnline) this._keep(create);
  }

  _await(create) {
    create.pending = new PendingCreate(create, this._runtime, () => this._withdrawn(create));
  }

  // A create that has not left takes in what is saved after it: one create is all the server sees, and
  // its reply answers both.
  _merge(create, exchange) {
    const isSameForm = create.isMade && exchange.isMade && create.url === exchange.url;
    if (!isSameForm || !this._runtime.client.withdraw(create.token)) return false;
    this._over(create);
    create.pending.end();
    exchange.body = JSON.stringify({...attributesOf(create.body), ...attributesOf(exchange.body)});
    exchange.made = exchange.body;
    exchange.merged = [...create.merged, create];
    create.merged = [];
    return true;
  }

  // Keeping
  // -------

  // What is known of an exchange while it lasts.
  _over({token, key}) {
    this._exchanges.delete(token);
    this._kept.forget(key);
  }

  _keep(exchange) {
    const {model, body, kind, pending, isRead, isElsewhere} = exchange;
    if (isRead || isElsewhere) return;
    const isRecord = kind !== OPAQUE && model && isPlain(attributesOf(body));
    const record = isRecord ? this._shownRecord(exchange) : exchange.record;
    this._kept.keep({...exchange, record, next: pending?.next});
  }

  // The whole record with what the writes of its model do to it, for the next page to show.
  _shownRecord({model, pending}) {
    const record = {...this._live.recordOf(model)};
    for (const {body, isRead, kind} of [...this.of(model), {body: pending?.next}]) {
      if (!isRead && kind !== OPAQUE) Object.assign(record, attributesOf(body));
    }
    return record;
  }

  // What an earlier page did not live to see answered. Nobody waits for it here, but its reply is news.
  restore() {
    for (const {at, kind = OPAQUE, ...write} of this._kept.restore()) {
      if (Date.now() - at > LEDGER_MEMORY) {
        this._kept.forget(write.key);
        this._lost(write);
      } else {
        this._begin(new Exchange({...write, kind, made: write.body, isRestored: true}), RESTORED, write.key);
      }
    }
  }

  // What is read while the server cannot be asked shows what waits.
  _showKept({model: target, url}) {
    if (this.isOnline || !target) return;
    for (const write of this._exchanges.values()) {
      const model = write.isRestored && show(write, target, url);
      if (!model) continue;
      this._live.assume(model, write.record);
      if (write.kind !== CREATE || write.model) continue;
      write.model = model;
      this._await(write);
    }
  }

  // Answers
  // -------

  // Status 0 means that there is no answer, and the body says why. `waited`: the write had waited offline.
  finish(token, status, body, headers = {}, waited = false) {
    const exchange = this._exchanges.get(token);
    if (!exchange) return;
    // The page's ajax layer expects no answer before `send` has returned.
    if (exchange.isBeginning) return void Promise.resolve().then(() => this.finish(token, status, body, headers, waited));
    this._over(exchange);
    if (headers['backwire-transport'] === 'http' && this._runtime.divert(exchange)) return this._runtime.wasAnswered();
    if (exchange.onAnswer) return this._answered(exchange, status, body, headers);
    if (exchange.isRead) this._read(exchange, status, body, headers);
    else this._wrote(exchange, {status, body: explained(status, body), headers, waited});
    this._runtime.wasAnswered();
  }

  _answered(exchange, status, body, headers) {
    attempt(() => exchange.onAnswer(status, body, headers));
    this._runtime.wasAnswered();
  }

  _read(exchange, status, body, headers) {
    const isLive = status >= 200 && status < 300 && exchange.model;
    const tell = isLive ? attempt(() => this._live.learnRead(exchange, body, headers)) : null;
    exchange.respond(status, exchange.answer ? this._withWrites(exchange.answer) : body, headers);
    attempt(() => tell?.());
    if (exchange.model) this._live.endRead(exchange.model);
  }

  // What this page has written and has no answer to yet stays on top of what the server says of a record.
  _withWrites({resource, body}) {
    const writes = this.all.filter(({kind, model, isRead}) =>
      !isRead && kind !== OPAQUE && model && !model.isNew() && this._live.resourceOf(model) === resource);
    if (!resource || !writes.length) return body;
    const overlay = record => {
      const own = isPlain(record) ? writes.filter(({model}) => String(model.id) === String(record[model.idAttribute])) : [];
      if (own.some(({method}) => method === 'delete')) return null;
      return own.length ? Object.assign({...record}, ...own.map(write => attributesOf(write.body))) : record;
    };
    return Array.isArray(body) ? body.map(overlay).filter(Boolean) : overlay(body) ?? body;
  }

  _wrote(exchange, {status, body, headers, waited}) {
    if (!status && body === 'outdated') this._lost(exchange);
    const news = attempt(() => this._live.learnWrite(exchange, status, body, headers));
    const later = [...this.of(exchange.model), ...exchange.pending?.delayed ?? []];
    exchange.respond(status, withEdits(news?.latest || body, exchange, later), headers);
    attempt(() => news?.tell());
    exchange.pending?.end(status, body).forEach(delayed => this._sendDelayed(delayed));
    if (status >= 400 && waited) this._refused(exchange, status);
  }

  _sendDelayed(exchange) {
    asPatch(exchange, exchange.base);
    exchange.body = exchange.model ? nameRecord(exchange) : exchange.body;
    this._send(exchange);
  }

  // What is not there is taken back by the news that it is gone.
  _refused(exchange, status) {
    const {method, url, body, model, isRestored} = exchange;
    if (status !== 404) attempt(() => exchange.undo?.(exchange));
    if (!isRestored) return;
    console.warn(`Backwire: a write that was kept while offline was refused with status ${status}: ${method.toUpperCase()} ${url}`);
    this._runtime.tell('rejected', {write: {method, url, body}, status, model: model ?? null});
    model?.trigger('error', model, {status}, {realtime: true});
  }

  // It may have been done or not, and nobody can find out by sending it again.
  _lost({method, url, body}) {
    Promise.resolve().then(() => this._runtime.tell('lost', {method, url, body}));
  }

  // Withdrawing
  // -----------

  // A model was destroyed before its create was answered. If that never left, it never happened.
  _withdrawn(create) {
    if (!this._exchanges.has(create.token)) return;
    if (!this._runtime.client.withdraw(create.token)) return this.isOnline || this._keep(create);
    this._over(create);
    for (const exchange of [...create.merged, create]) exchange.abort();
  }

  // What it had taken in is none of the abort's business.
  _aborted(exchange) {
    if (!this._exchanges.has(exchange.token)) return;
    this._over(exchange);
    this._runtime.client.abort(exchange.token);
    for (const other of [...exchange.merged, ...exchange.pending?.end() ?? []]) this._send(other);
    if (exchange.isRead && exchange.model) this._live.endRead(exchange.model);
    this._runtime.wasAnswered();
  }

  // Everyone who waits is told that no answer will come; what is kept stays so.
  abortAll() {
    this._kept.forget = () => {};
    // An abort may send what had waited for the aborted.
    while (this._exchanges.size) {
      for (const exchange of this.all) {
        exchange.abort();
        this._exchanges.delete(exchange.token);
      }
    }
  }

  // Who waits for what
  // ------------------

  // How the line stands. Whatever waits when it breaks has to survive the page.
  setOnline(isOnline) {
    this.isOnline = isOnline;
    if (!isOnline) for (const exchange of this._exchanges.values()) this._keep(exchange);
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

  _createOf(model) {
    return this.of(model).find(({pending}) => pending);
  }

  // What a model still waits for.
  of(model) {
    return model ? this.all.filter(exchange => exchange.model === model) : [];
  }
}

// The core did not send what is over the limit, and says how much the server takes.
function explained(status, body) {
  if (status !== 413 || typeof body !== 'number') return body;
  return {code: 'E_TOO_LARGE', message: `the body is over the limit of ${body} bytes`, field: 'body', limit: body};
}
