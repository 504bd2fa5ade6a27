// Requests on their way
// ---------------------
//
// From Backbone's call to its answer. The core keeps the order, sends again and knows what was done; here is
// what a request means for the page: which model it is of, what may be merged with it or has to wait for
// it, what has to survive a reload, and who gets the answer.
//
// What is needed of writes that had waited is in `waited.js`.

import {attempt} from './attempt.js';
import {asPatch, attributesOf, nameRecord, withEdits} from './edits.js';
import {Exchange} from './exchange.js';
import {CREATE, OPAQUE} from './kinds.js';
import {PendingCreate} from './pending-create.js';
import {isPlain} from './records.js';
import {isSuccess} from './request.js';
import {isCollection} from './targets.js';

// How a request gets to the server, as the core numbers it.
const NEW = 0;
export const RESTORED = 1;
const ELSEWHERE = 2;

export class Outbox {
  // `session` starts the idempotency keys.
  constructor(runtime, live, kept, session) {
    Object.assign(this, {runtime, live, kept, session});
    // Requests without an answer, by token.
    this._exchanges = new Map();
    this._made = 0;
  }

  // What an earlier page has kept goes first: until it is restored, what this page asks for waits.
  start(extras) {
    if (this.kept.isEmpty()) return;
    this._held = [];
    extras.use(loaded => {
      loaded?.restore(this);
      const held = this._held;
      this._held = null;
      for (const exchange of held) this.ask(exchange);
    });
  }

  // Asking
  // ------

  // Takes a request of the page.
  ask(exchange) {
    if (this._held) return this._hold(exchange);
    const {model, isRead, kind, method} = exchange;
    if (isRead) this.live.isReading(model, true);
    else if (kind !== OPAQUE) {
      exchange.resource = this.live.resourceOf(model);
      exchange.holders = method === 'delete' ? [...this.live.targets.of(exchange.resource).keys()].filter(it => isCollection(it) && it.get(model)) : [];
    }
    asPatch(exchange, this._baseOf(model));
    exchange.body = nameRecord(exchange);
    this._send(exchange);
    if (isRead && this.hasRestored) Promise.resolve().then(() => this.runtime.extras.use(extras => extras?.showKept(this, exchange)));
  }

  _hold(exchange) {
    this._held.push(exchange);
    exchange.whenAborted = () => { this._held = this._held?.filter(held => held !== exchange); };
  }

  // The record as the server has it, but for what is on its way there: that is saved again.
  _baseOf(model) {
    const base = {...this.live.recordOf(model)};
    for (const {body, isRead} of this.of(model)) if (!isRead) for (const name in attributesOf(body)) delete base[name];
    return this.live.recordOf(model) && base;
  }

  // A model whose create is on its way is not created again: what it asks for meanwhile waits.
  _send(exchange) {
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
      else this.finish(token, 0, String(error));
    }
    exchange.isBeginning = false;
    this.keep(exchange);
  }

  // Asks the server for something that the page did not ask for; `onAnswer(status, body, headers)` gets it.
  request({url, headers}, onAnswer) {
    this.begin(new Exchange({kind: OPAQUE, method: 'get', url, headers, onAnswer}), NEW);
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
    this._over(create);
    create.pending.end();
    exchange.made = exchange.body = JSON.stringify({...attributesOf(create.body), ...attributesOf(exchange.body)});
    exchange.merged = [...create.merged, create];
    create.merged = [];
    return true;
  }

  // Keeping
  // -------

  // What is known of an exchange while it lasts.
  _over({token, key}) {
    this._exchanges.delete(token);
    this.kept.forget(key);
  }

  // What cannot be sent now has to survive the page, with the whole record for the next page to show.
  keep(exchange) {
    const {model, body, kind, pending, isRead, isElsewhere, token} = exchange;
    if (this.isOnline || isRead || isElsewhere || !this._exchanges.has(token)) return;
    let {record} = exchange;
    if (kind !== OPAQUE && model && isPlain(attributesOf(body))) {
      record = {...this.live.recordOf(model)};
      for (const write of [...this.of(model), {body: pending?.next}]) {
        if (!write.isRead && write.kind !== OPAQUE) Object.assign(record, attributesOf(write.body));
      }
    }
    this.kept.keep({...exchange, record, next: pending?.next});
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
    const isDiverted = headers['backwire-transport'] === 'http' && this.runtime.divert(exchange);
    if (exchange.onAnswer) exchange.onAnswer(status, body, headers);
    else if (exchange.isRead) this._read(exchange, isDiverted, status, body, headers);
    else if (!isDiverted) this._wrote(exchange, status, status === 413 ? tooLarge(body) : body, headers, waited);
    this.runtime.wasAnswered();
  }

  _read(exchange, isDiverted, status, body, headers) {
    const tell = isSuccess(status) && attempt(() => this.live.learnRead(exchange, body, headers));
    if (!isDiverted) exchange.respond(status, exchange.answer ? this._withWrites(exchange.answer) : body, headers);
    attempt(() => tell && tell());
    this.live.isReading(exchange.model, false);
  }

  // What this page has written and has no answer to yet stays on top of what the server says of a record.
  _withWrites({resource, body}) {
    const writes = this.all.filter(({kind, model, isRead}) =>
      !isRead && kind !== OPAQUE && model && !model.isNew() && resource && this.live.resourceOf(model) === resource);
    const overlay = record => {
      const own = isPlain(record) ? writes.filter(({model}) => String(model.id) === String(record[model.idAttribute])) : [];
      if (own.some(({method}) => method === 'delete')) return null;
      return own.length ? Object.assign({...record}, ...own.map(write => attributesOf(write.body))) : record;
    };
    return Array.isArray(body) ? body.map(overlay).filter(Boolean) : overlay(body) ?? body;
  }

  _wrote(exchange, status, body, headers, waited) {
    const {model, pending, isRestored} = exchange;
    const news = attempt(() => this.live.learnWrite(exchange, status, body, headers));
    const later = [...this.of(model), ...pending?.delayed ?? []];
    exchange.respond(status, withEdits(news?.latest || body, exchange, later), headers);
    attempt(() => news?.tell());
    for (const delayed of pending?.end(status, body) ?? []) {
      asPatch(delayed, delayed.base);
      if (delayed.model) delayed.body = nameRecord(delayed);
      this._send(delayed);
    }
    if (status >= 400 && waited || isRestored && !isSuccess(status) || body === 'outdated') {
      this.runtime.extras.use(extras => extras?.waitedInVain(this, exchange, status, body));
    }
  }

  // Withdrawing
  // -----------

  // A model was destroyed before its create was answered. If that never left, it never happened.
  _withdrawn(create) {
    if (!this._exchanges.has(create.token)) return;
    if (!this.runtime.client.withdraw(create.token)) return this.keep(create);
    this._over(create);
    for (const exchange of [...create.merged, create]) exchange.abort();
  }

  // What it had taken in is none of the abort's business.
  _aborted(exchange) {
    const {token, merged, pending, model, isRead} = exchange;
    if (!this._exchanges.has(token)) return;
    this._over(exchange);
    this.runtime.client.abort(token);
    for (const other of [...merged, ...pending?.end() ?? []]) this._send(other);
    if (isRead) this.live.isReading(model, false);
    this.runtime.wasAnswered();
  }

  // Everyone who waits is told that no answer will come; what is kept stays so.
  abortAll() {
    this.kept.forget = () => {};
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

  // What a model still waits for.
  of(model) {
    return this.all.filter(exchange => model && exchange.model === model);
  }
}

// The core did not send what is over the limit, and says how much the server takes.
function tooLarge(limit) {
  if (typeof limit !== 'number') return limit;
  return {code: 'E_TOO_LARGE', message: `the body is over the limit of ${limit} bytes`, field: 'body', limit};
}
