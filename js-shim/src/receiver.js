// Answers and pushes
// ------------------
//
// Handles the reports of the core: passes answers to the page's requests, and updates live
// collections and models.

import {NO_ROOM, splitRoom} from './answer.js';
import {watchAnswer} from './answers.js';
import {attempt} from './attempt.js';
import {followUps} from './created.js';
import {asPatch, attributesOf, nameRecord, withEdits} from './edits.js';
import {Exchange} from './exchange.js';
import {OPAQUE} from './kinds.js';
import {Live} from './live.js';
import {NEW} from './outbox.js';
import {isPlain} from './records.js';
import {Queries} from './queries.js';
import {adopt, refreshed} from './refreshed.js';
import {isSuccess} from './request.js';
import {respond} from './respond.js';
import {isCollection} from './targets.js';
import {plainPath} from './url.js';

export class Receiver {
  constructor(runtime, queries) {
    Object.assign(this, {runtime, outbox: runtime.outbox});
    this.live = new Live(this, new Queries(queries));
    this._leaving = new Set();
    for (const {model, isRead} of this.outbox.all) if (isRead) this.live.isReading(model, true);
  }

  end() {
    this._isEnded = true;
    this.live.end();
    this._deliveries?.end();
  }

  // Answers
  // -------

  // Status 0 means that there is no answer; the body is the reason. `waited` is true for a write
  // that had waited offline.
  finish(token, status, body, headers = {}, waited = false) {
    const exchange = this.outbox.get(token);
    if (!exchange) return;
    // The page's ajax layer expects no answer before `send` has returned.
    if (exchange.isBeginning) return void Promise.resolve().then(() => this.finish(token, status, body, headers, waited));
    this.outbox.over(exchange);
    const isDiverted = headers['backwire-transport'] === 'http' && this.runtime.divert(exchange);
    if (exchange.onAnswer) exchange.onAnswer(status, body, headers);
    else if (exchange.isRead) this._read(exchange, isDiverted, status, body, headers);
    else if (!isDiverted) this._wrote(exchange, status, status === 413 ? tooLarge(body) : body, headers, waited);
    this.wasAnswered();
  }

  _read(exchange, isDiverted, status, body, headers) {
    const tell = isSuccess(status) && attempt(() => this.live.learnRead(exchange, body, headers));
    if (!isDiverted) respond(exchange, status, exchange.answer ? this._withWrites(exchange.answer) : body, headers);
    attempt(() => tell && tell());
    this.live.isReading(exchange.model, false);
  }

  // Applies this page's unanswered writes to the records of an answer.
  _withWrites({resource, body}) {
    const writes = this.outbox.all.filter(({kind, model, isRead}) =>
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
    const later = [...this.outbox.of(model), ...pending?.delayed ?? []];
    respond(exchange, status, withEdits(news?.latest || body, exchange, later), headers);
    attempt(() => news?.tell());
    for (const delayed of pending ? followUps(pending, status, body) : []) {
      asPatch(delayed, delayed.base);
      if (delayed.model) delayed.body = nameRecord(delayed);
      this.outbox.send(delayed);
    }
    if (status >= 400 && waited || isRestored && !isSuccess(status) || body === 'outdated') {
      this._useExtras(extras => extras.waitedInVain(this.outbox, exchange, status, body));
    }
  }

  // Called when Backbone is about to set the answer to a call. A fetch keeps the models whose
  // create is pending, because its answer may not contain them.
  setAnswer(call, run) {
    const {method, model: target} = call;
    const keep = list => {
      call.parsed = list;
      const creates = target.models.filter(model => model.isNew() && this.isWriting(model));
      return creates.length ? [list ?? [], creates].flat() : list;
    };
    watchAnswer(target, run, isCollection(target) && method === 'read' && keep, models => {
      call.models = models;
      this.live.wasSet(target, models);
    });
  }

  // Sends a request over HTTP. The core calls this after the link has been down for a while.
  http(token) {
    const {runtime} = this;
    const exchange = this.outbox.get(token);
    runtime.extras.use(async extras => {
      const {status, body, headers} = await (exchange && extras?.sendOverHttp(runtime.page, runtime.server.origin, exchange)) ?? {status: 0};
      attempt(() => runtime.client.answeredOverHttp(token, status, body, headers ?? {}));
      if (runtime.state === 'online') this.rejoin();
    });
  }

  unauthorized() {
    this.runtime.tell('unauthorized');
  }

  refused(reason) {
    console.error('Backwire: the server refuses this page: ' + reason);
    this.runtime.tell('refused', {reason});
  }

  // Sends all pending requests over HTTP after the core has failed.
  goOn() {
    this.end();
    this.runtime.extras.use(extras => {
      if (!extras) return;
      const client = this.runtime.client = new extras.HttpClient(this.runtime.page, this.runtime.server.origin, this);
      for (const {token, method, url, headers, body, key, isElsewhere} of this.outbox.all) {
        client.request(token, method, url, JSON.stringify(headers), body, key, isElsewhere ? 2 : 0);
      }
    });
  }

  // Pushes
  // ------

  deliver(room, changes) {
    if (room) this.live.news(splitRoom(room)[0], room, changes);
    else this._withDeliveries(deliveries => deliveries.take(changes));
  }

  refresh(room) {
    this.live.refresh(room);
  }

  // Sends the queries without a room again, such as reads that were answered over HTTP.
  rejoin() {
    this.live.refresh(NO_ROOM);
  }

  // Reads a target again that the page has read without the socket, so that it becomes live.
  readAgain(target, path, data) {
    this._useExtras(extras => adopt(this.live, target, extras.withQuery(path, data)));
  }

  // Shows the writes that an earlier page has kept, while a read of the page is pending.
  showKept(exchange) {
    this._useExtras(extras => extras.showKept(this.outbox, exchange));
  }

  // Called when the page adds a handler or ignores an event.
  handlersChanged() {
    this._withDeliveries(deliveries => deliveries.handlersChanged());
  }

  _withDeliveries(call) {
    this._useExtras(extras => {
      this._deliveries ??= new extras.Deliveries(this);
      if (this._isEnded) this._deliveries.end();
      call(this._deliveries);
    });
  }

  // Services for `Live`
  // -------------------

  isWriting(model) {
    return this.outbox.isWriting(model);
  }

  hasOwnParse(model) {
    return model.parse !== this.runtime.Backbone.Model.prototype.parse;
  }

  // Whether a fetch with these options adds to the models of a collection. By default it replaces
  // them.
  isAdding({reset, remove, add}) {
    return !reset && (remove === false || /^0\.([1-8]|9\.[0-2])/.test(this.runtime.Backbone.VERSION) && Boolean(add));
  }

  // Sends a query again.
  ask(query, number) {
    const onAnswer = (...answer) => refreshed(this.live, number, ...answer);
    if (query) this.outbox.begin(new Exchange({kind: OPAQUE, method: 'get', url: query.url, headers: query.headers, onAnswer}), NEW);
    else this.live.decide(() => this.live.queries.failed(number, true));
  }

  // Warns the developer if the answer to a read may not be what they expect.
  wasRead(answer, url, target) {
    const {prototype} = this.runtime.Backbone.Model;
    const {sync = prototype.sync} = target.model?.prototype ?? {};
    if (answer.isUndeclared && answer.body.length === 0) this.explain('emptyList', answer.resource, plainPath(url));
    if (sync !== prototype.sync && sync !== this.runtime.sync) this.explain('ownSync', plainPath(url));
  }

  // Called after records were added to a collection. The page may be creating the same records
  // without Backwire.
  wereAdded(collection) {
    const foreign = collection.models.filter(model => model.isNew() && !this.isWriting(model));
    if (foreign.length) this._useExtras(extras => extras.watchForTwins(collection, foreign));
  }

  // Leaves a room as soon as no read is pending. A pending read may join the same room, and the
  // server would get the unsubscribe after that.
  leave(room) {
    if (room !== NO_ROOM) this._leaving.add(room);
    this.wasAnswered();
  }

  // Called when a request has ended.
  wasAnswered() {
    if (!this._leaving.size || this.outbox.isReading()) return;
    for (const room of this._leaving) if (!this.live.has(room)) this.runtime.client.unsubscribe(room);
    this._leaving.clear();
  }

  // Logs a message of `Notices` for the developer.
  explain(name, ...about) {
    this._useExtras(({Notices}) => {
      this._notices ??= new Notices(this.runtime.server.origin);
      if (!this._isEnded) this._notices[name](...about);
    });
  }

  _useExtras(call) {
    this.runtime.extras.use(extras => extras && attempt(() => call(extras)));
  }
}

// The answer to a body over the limit. The core does not send it, and reports the limit as the body
// of a 413.
function tooLarge(limit) {
  if (typeof limit !== 'number') return limit;
  return {code: 'E_TOO_LARGE', message: `the body is over the limit of ${limit} bytes`, field: 'body', limit};
}
