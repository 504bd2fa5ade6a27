// Answers and pushes
// ------------------
//
// Handles the reports of the core: passes answers to the page's requests, and updates live
// collections and models.

import {Answer, NO_ROOM, parseRoom} from './answer.js';
import {attempt} from './attempt.js';
import {isCollection} from './backbone.js';
import {changesOfPush} from './change.js';
import {withEdits} from './edits.js';
import {Live} from './live.js';
import {SENT_BY_PAGE, NEW} from './outbox.js';
import {withPendingWrites} from './pending-writes.js';
import {headersOf, isSuccess, parseJson} from './request.js';
import {respond} from './respond.js';
import {plainPath} from './url.js';
import {watchAnswer} from './watch-answer.js';
import {IDEMPOTENCY_KEY, TRANSPORT, TRANSPORT_HTTP} from './wire.js';

// The pause after which the part `extra` is loaded again, in milliseconds.
const LOAD_RETRY_DELAY = 3000;

export class Receiver {
  // `queries` is the part `queries`.
  constructor(runtime, {Targets, makeQueries}, unpack) {
    Object.assign(this, {runtime, outbox: runtime.outbox});
    this.live = new Live(this, makeQueries(unpack), Targets);
    this._leaving = new Set();
    for (const {model, isRead} of this.outbox.all) if (isRead) this.live.setReading(model, true);
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
    // The core does not send a body over the limit, and reports the limit as the body of a 413.
    if (status === 413 && typeof body === 'number') return this.runtime.use('extra', extras => this.finish(token, status, extras?.tooLarge(body), headers, waited));
    this.outbox.removeExchange(exchange);
    const isDiverted = headers[TRANSPORT] === TRANSPORT_HTTP && this.runtime.divert(exchange);
    if (exchange.onAnswer) exchange.onAnswer(status, body, headers);
    else if (exchange.isRead) this._finishRead(exchange, isDiverted, status, body, headers);
    else if (!isDiverted) this._finishWrite(exchange, status, body, headers, waited);
    this.wasAnswered();
  }

  _finishRead(exchange, isDiverted, status, body, headers) {
    const updateOthers = isSuccess(status) && attempt(() => this.live.learnRead(exchange, body, headers));
    if (!isDiverted) respond(exchange, status, exchange.answer ? attempt(() => withPendingWrites(exchange.answer, exchange.model, this)) ?? exchange.answer.body : body, headers);
    attempt(() => updateOthers && updateOthers());
    this.live.setReading(exchange.model, false);
  }

  _finishWrite(exchange, status, body, headers, waited) {
    const {model, pendingCreate, isRestored, url} = exchange;
    this._warnAboutSync('collection', model?.collection, url);
    const learned = attempt(() => this.live.learnWrite(exchange, status, body, headers));
    const later = [...this.outbox.requestsOf(model), ...pendingCreate?.delayed ?? []].filter(({options}) => !options.wait);
    respond(exchange, status, withEdits(learned?.latest || body, exchange, later), headers);
    attempt(() => learned?.updateOthers());
    if (exchange.isQueued && status) this.runtime.tell(isSuccess(status) ? 'saved' : 'rejected', exchange, status);
    // An answer to a read may have brought the record before.
    if (pendingCreate && model?.collection) attempt(() => this.findDuplicates(model.collection, model));
    pendingCreate?.sendFollowUps(status, body);
    if (status >= 400 && (waited || exchange.isShownOnTop) || isRestored && !isSuccess(status) || body === 'outdated') {
      this._useExtra(extras => extras.waitedWriteFailed(this.outbox, exchange, status, body));
    }
  }

  // Called when Backbone is about to set the answer to a call. A fetch keeps the models whose
  // create is pending, because its answer may not contain them.
  setAnswer(call, run) {
    const {method, model: target} = call;
    // A reset empties the collection before it calls `parse`.
    const creates = isCollection(target) && !this.isAdding(call.options) ? target.models.filter(model => model.isNew() && this.isWriting(model)) : [];
    const keep = (parse, args) => {
      const text = this.hasOwnParse(target, parse) && JSON.stringify(args[0]);
      const list = call.parsed = parse.apply(target, args);
      call.isMapped = text && JSON.stringify(list) !== text;
      return creates.length ? [list ?? [], creates].flat() : list;
    };
    watchAnswer(target, run, isCollection(target) && method === 'read' && keep, models => {
      call.models = models;
      attempt(() => this.live.wasSet(target, models ?? [call.parsed].flat().map(item => target.get(item))));
    });
  }

  // Called before the page's own XMLHttpRequest sends a request. A write to a live resource is
  // registered with its key, and the core holds its echo back until the write is answered.
  willSendReal({call, xhr, url, headers, method, isAsync}) {
    const path = this.runtime.pathOf(url);
    if (path === null || /^(GET|HEAD|OPTIONS)$/.test(method) || !this.live.store.follows(path)) return;
    this.live.store.wasAborted(call.model, call.made);
    // The page waits for the answer.
    if (!isAsync) return;
    const exchange = this.outbox.makeExchange({method: method.toLowerCase(), url: path, headers, model: call.model, call, isSentByPage: true});
    this.outbox.begin(exchange, SENT_BY_PAGE);
    if (!headers[IDEMPOTENCY_KEY]) xhr.setRequestHeader('Idempotency-Key', exchange.key);
    xhr.addEventListener('loadend', () => {
      if (!xhr.status) return exchange.whenAborted();
      // `responseText` throws if the page has set another response type, such as Blob.
      this.runtime.client.answeredOverHttp(exchange.token, xhr.status, parseJson(xhr.response), headersOf(xhr));
    });
  }

  // Sends a request over HTTP. The core calls this after the link has been down for a while.
  http(token) {
    const {runtime} = this;
    const exchange = this.outbox.get(token);
    runtime.use('extra', async extras => {
      const {status, body, headers} = await (exchange && extras?.sendOverHttp(runtime.page, runtime.server.origin, exchange)) ?? {status: 0};
      attempt(() => runtime.client.answeredOverHttp(token, status, body, headers ?? {}));
      if (runtime.state === 'online') this.rejoin();
    });
  }

  // The server is there, and asks who the user is.
  authenticate() {
    const {person, client} = this.runtime;
    if (!isFunction(person.token)) client.authenticate(JSON.stringify(person));
    else this._useTokens(tokens => tokens.ask());
  }

  unauthorized() {
    this.runtime.notify('unauthorized');
    if (isFunction(this.runtime.person?.token)) this._useTokens(tokens => tokens.wasRefused());
  }

  // The token of the page expires in so many seconds.
  tokenExpires(seconds) {
    this._useTokens(tokens => tokens.expires(seconds));
  }

  refused(reason) {
    const report = () => {
      this.runtime.isWanted = false;
      this.explain('refused', reason);
      this.runtime.notify('refused', {reason});
    };
    if (/^E_TOKEN/.test(reason) && isFunction(this.runtime.person?.token)) this._useTokens(tokens => tokens.replace(reason, report));
    else report();
  }

  _useTokens(call) {
    this._useExtra(extras => call(this._tokens ??= new extras.Tokens(this.runtime)));
  }

  // Sends all pending requests over HTTP after the core has failed.
  continueOverHttp() {
    this.end();
    this._useExtra(({continueOverHttp}) => continueOverHttp(this));
  }

  // Pushes
  // ------

  deliver(room, push) {
    const changes = changesOfPush(push);
    if (room) this.live.applyChanges(parseRoom(room).resource, room, changes);
    else this._withDeliveries(deliveries => deliveries.enqueue(changes));
  }

  refresh(room) {
    this.live.refresh(room);
  }

  resumed(recovered, count) {
    this.runtime.notify('resume', {recovered, count});
  }

  // Sends the queries without a room again, such as reads that were answered over HTTP.
  rejoin() {
    this.live.refresh(NO_ROOM);
  }

  // Reads a target again that the page has read without the socket, so that it becomes live.
  readAgain(target, path, data) {
    this._useExtra(extras => extras.makeLive(this.live, target, extras.withQuery(path, data)));
  }

  // Shows the writes that an earlier page has kept, while a read of the page is pending.
  showKept(exchange) {
    this._useExtra(extras => extras.showKept(this.outbox, exchange));
  }

  // Called when the page adds a handler or ignores an event.
  handlersChanged() {
    this._withDeliveries(deliveries => deliveries.handlersChanged());
  }

  _withDeliveries(call) {
    this._useExtra(extras => {
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

  hasOwnParse(target, parse = target.parse) {
    const {Collection, Model} = this.runtime.Backbone;
    return parse !== (isCollection(target) ? Collection : Model).prototype.parse;
  }

  // Whether a fetch with these options adds to the models of a collection. By default it replaces
  // them. Collections have `set` since 1.0, and `update` before that since 0.9.9.
  isAdding({reset, remove, update, add}) {
    const {prototype} = this.runtime.Backbone.Collection;
    return prototype.set ? !reset && remove === false : prototype.update ? update && remove === false : add;
  }

  // Sends a query again.
  sendQuery(query, number) {
    const onAnswer = (status, body, headers) => this.runtime.use('extra', extras => {
      if (extras) attempt(() => extras.refreshed(this.live, number, status, new Answer(body, headers)));
      else setTimeout(onAnswer, LOAD_RETRY_DELAY, status, body, headers);
    });
    if (query) this.outbox.begin(this.outbox.makeExchange({method: 'get', url: query.url, headers: query.headers, onAnswer}), NEW);
    else this.live.decide(() => this.live.queries.failed(number, true));
  }

  // Other collections still show records of a replaced query.
  keepQuery(query) {
    this._useExtra(extras => extras.keepQuery(this.live, query));
  }

  // The page has read parts of records, which other targets may show as well.
  shareParts(...about) {
    this._useExtra(extras => extras.shareParts(this.live, ...about));
  }

  // Code of the page has thrown while records were added to a collection.
  addRest = (...about) => this._useExtra(extras => extras.addRest(...about));

  // A record of a collection that is not shown as the server sends it has changed.
  readMapped(query) {
    this._useExtra(extras => extras.readMapped(this.live, query));
  }

  // Warns the developer if the answer to a read may not be what they expect.
  warnAboutRead(answer, url, target) {
    if (answer.isUndeclared && answer.body.length === 0) this.explain('emptyList', answer.resource, plainPath(url));
    this._warnAboutSync('model', target.model?.prototype, url);
  }

  _warnAboutSync(what, holder, url) {
    const {Collection, Model} = this.runtime.Backbone;
    const {sync = Model.prototype.sync} = holder ?? {};
    if (![Model.prototype.sync, Collection.prototype.sync, this.runtime.sync].includes(sync)) this.explain('ownSync', what, plainPath(url), sync);
  }

  // Called after records were added to a collection, or after its model `created` got its id.
  // Another model of the same record may have arrived before. The page may have sent the create to
  // another resource, where another record has this id.
  findDuplicates(collection, created) {
    const {models} = this.live.store;
    const duplicates = collection.models.filter(model => (created
      ? created.id === model.id && created !== model && models.mayBeOf(model, models.resourceOf(created))
      : model.isNew() ? !this.isWriting(model) : (collection.get(model.id) ?? model) !== model));
    if (duplicates.length) this._useExtra(extras => extras.watchForDuplicates(collection, created ? [created] : duplicates));
  }

  // Leaves a room as soon as no read is pending. A pending read may join the same room, and the
  // server would get the unsubscribe after that.
  leave(room) {
    if (room !== NO_ROOM) this._leaving.add(room);
    this.wasAnswered();
  }

  // Called when a request has ended.
  wasAnswered() {
    if (!this._leaving.size || this.outbox.all.some(({isRead}) => isRead)) return;
    for (const room of this._leaving) if (!this.live.has(room)) this.runtime.client.unsubscribe(room);
    this._leaving.clear();
  }

  // Logs a message of `Notices` for the developer.
  explain(name, ...about) {
    this._useExtra(({Notices}) => {
      this._notices ??= new Notices(this.runtime.server.origin);
      if (!this._isEnded) this._notices[name](...about);
    });
  }

  _useExtra(call) {
    this.runtime.use('extra', extras => extras && attempt(() => call(extras)));
  }
}

const isFunction = it => typeof it === 'function';
