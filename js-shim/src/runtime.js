// One installation
// ----------------
//
// Stands between Backbone and the core: requests go down by token, replies and pushes come up.

import {attempt} from './attempt.js';
import {Birth, showReply} from './birth.js';
import {Deliveries} from './deliveries.js';
import {asPatch, attributesOf, withEdits} from './edits.js';
import {HttpClient} from './http.js';
import {Kept, storageOf} from './kept.js';
import {Live} from './live.js';
import {isCarried, requestOf} from './request.js';
import {wrapSync} from './sync.js';
import {show} from './unsent.js';
import {param, pathOf, serverAt} from './url.js';
import {Xhr} from './xhr.js';

// After this the server's ledger may have forgotten a write, and would do it again.
const LEDGER_MEMORY = 7 * 24 * 3600 * 1000;

export class Runtime {
  // `page` is the window, `identity` says whose the writes are. Nothing of Backbone is touched if the
  // client cannot be made.
  constructor(Backbone, makeClient, {url, identity = '', site, token, bind, handlers}, page, tell) {
    this._Backbone = Backbone;
    this._page = page;
    // Asked for only when it is needed, and may have changed by then.
    this._base = {toString: () => page.document?.baseURI || page.location?.href || url};
    this._server = serverAt(url, this._base);
    // Requests the app still waits for, by token.
    this._exchanges = new Map();
    this._leaving = new Set();
    // Whether what is asked now is sent now.
    this._isOnline = false;
    this._live = new Live(model => this._isWriting(model), target => this._readOf(target), room => this._leave(room));
    this._session = session();
    this._tell = tell;
    this._kept = new Kept(storageOf(page), this._server.origin, identity, error =>
      console.warn('Backwire can not keep writes:', error));
    this.error = null;
    const own = {__proto__: null, resync: () => this._live.refreshAll()};
    for (const event in bind) own[event] = (...args) => this._live.hear(bind[event], args.slice(0, -1));
    this._deliveries = new Deliveries(event => handlers[event] ?? own[event],
      id => attempt(() => this.client.delivered(id)), tell);
    if (Object.keys({...bind, ...handlers}).length) this._deliveries.start();
    const guest = site ? '&' + param({site, token, deviceId: this._device()}) : '';
    this.client = makeClient(this._server.socket + guest, this._session, random(1)[0], {
      finish: (...reply) => this._finish(...reply),
      deliver: (room, changes) => (room ? this._live.deliver(room, changes) : this._deliveries.take(changes)),
      refresh: room => this._live.refresh(room),
      status: (state, unsent) => this._status(state, unsent)
    });
    this._online = () => this.client.online();
    this._offline = () => this.client.offline();
    this._trapped = ({error}) => { if (isTrap(error) && !this.client.isWell()) this._fall(error); };
    this._listen('addEventListener');
    this._restore();
    this._unwrapSync = wrapSync(Backbone, (...asked) => this._ajax(...asked));
  }

  // No longer live, also if a read of it is still on its way.
  stop(target) {
    for (const exchange of this._exchanges.values()) exchange.isStopped ||= exchange.model === target;
    this._live.stop(target);
  }

  // Leaves Backbone as it was. Whoever waits for a reply is told that none will come; what is kept stays
  // so, for the next time this person is here.
  end() {
    this._unwrapSync();
    this._kept.forget = () => {};
    this._listen('removeEventListener');
    this._live.end();
    this._deliveries.end();
    // An abort may send what had waited for the aborted.
    while (this._exchanges.size) for (const {xhr} of [...this._exchanges.values()]) xhr.abort();
    this.client.disconnect();
    // Later, because the client may be the one that called us.
    Promise.resolve().then(() => this.client.free());
  }

  // Requests
  // --------

  // Our `Backbone.ajax`. Url and body are taken here and now: a model that is being destroyed has lost
  // its collection, and with it its url, a moment later.
  _ajax(settings, model, options, pageAjax) {
    const path = this._pathOf(settings);
    if (path === null || !isCarried(settings)) return pageAjax.call(this._Backbone, settings);
    const made = options.data == null ? settings.data : undefined;
    const xhr = new Xhr(settings);
    if (!xhr.begin()) return xhr;
    // `beforeSend` may have changed the settings, as it may with jQuery.
    const request = requestOf(settings, {
      headers: xhr.requestHeaders, path: this._pathOf(settings) ?? path, made, $: this._Backbone.$
    });
    const exchange = {...request, model, options, xhr, timeout: settings.timeout || 0};
    this._ask(exchange);
    return xhr;
  }

  // Of what waits nobody looks at the form any more when it is refused.
  _ask(exchange) {
    const {method, model, url} = exchange;
    if (!this._isOnline && model) exchange.undo = this._live.undo(model);
    this._send(asPatch(exchange, this._baseOf(model)));
    if (method === 'get') Promise.resolve().then(() => this._showKept(model, url));
  }

  // The record as the server has it, but for what is on its way there: that is saved again.
  _baseOf(model) {
    const record = this._live.recordOf(model);
    const base = record && {...record};
    if (base) for (const {body} of this._of(model)) for (const name in attributesOf(body)) delete base[name];
    return base;
  }

  // What is read while the server can not be asked shows what waits.
  _showKept(target, url) {
    for (const write of this._exchanges.values()) {
      const model = write.isRestored && !this._isOnline && show(write, target, url);
      if (!model) continue;
      this._live.assume(model, write.record);
      if (write.method !== 'post' || write.model) continue;
      this._bear(Object.assign(write, {model}));
      showReply(model, write.xhr);
    }
  }

  // A model whose create is on its way is not created again: what it asks for meanwhile waits.
  _send(exchange) {
    const create = exchange.method === 'post' && this._createOf(exchange.model);
    if (create && !this._merge(create, exchange)) return this._delay(create, exchange);
    const {method, url, body, timeout, xhr} = exchange;
    try {
      const token = this.client.request(method, url, body, timeout);
      exchange.key = `${this._session}-${token}`;
      this._begun(token, exchange);
    } catch (error) {
      if (!isTrap(error)) return Promise.resolve().then(() => xhr.finish(0, error));
      this._fall(error);
      this._send(exchange);
    }
  }

  _begun(token, exchange) {
    exchange.token = token;
    this._exchanges.set(token, exchange);
    exchange.xhr.whenAborted = () => this._aborted(token);
    if (exchange.method === 'post' && (exchange.model || exchange.isRestored)) this._bear(exchange);
    if (!this._isOnline) this._keep(exchange);
  }

  _delay(create, exchange) {
    create.birth.delay(exchange);
    if (!this._isOnline) this._keep(create);
  }

  _bear(create) {
    create.birth = new Birth(create, () => this._miscarried(create.token));
  }

  // A create that has not left takes in what is saved after it: one create is all the server sees, and
  // its reply answers both.
  _merge(create, exchange) {
    if (!this.client.withdraw(create.token)) return false;
    this._over(create);
    create.birth.end();
    exchange.body = JSON.stringify({...attributesOf(create.body), ...attributesOf(exchange.body)});
    exchange.merged = [...create.merged ?? [], create];
    return true;
  }

  // What is known of an exchange while it lasts.
  _over({token, key}) {
    this._exchanges.delete(token);
    this._kept.forget(key);
  }

  _keep(exchange) {
    const {method, model, body, birth} = exchange;
    if (method === 'get') return;
    const record = body && model && {...this._live.recordOf(model)};
    for (const {body} of [...this._of(model), {body: birth?.next}]) {
      if (record) Object.assign(record, attributesOf(body));
    }
    this._kept.keep({...exchange, record: record || exchange.record, next: birth?.next});
  }

  // What an earlier page did not live to see answered. Nobody waits for it here, but its reply is news.
  _restore() {
    for (const write of this._kept.restore()) {
      const {key, method, url, body, at} = write;
      if (Date.now() - at > LEDGER_MEMORY) {
        this._kept.forget(key);
        this._lost(write);
        continue;
      }
      const xhr = new Xhr({});
      xhr.begin();
      const token = this.client.request(method, url, body, 0, key);
      this._begun(token, {...write, isRestored: true, model: null, xhr});
    }
  }

  // It may have been done or not, and nobody can find out by sending it again.
  _lost({method, url, body}) {
    Promise.resolve().then(() => this._tell('lost', {method, url, body}));
  }

  _finish(token, statusCode, body, headers = {}) {
    const exchange = this._exchanges.get(token);
    if (!exchange) return;
    this._over(exchange);
    if (body === 'outdated' && !statusCode) this._lost(exchange);
    // The core did not send it, and says how much the server takes.
    if (body > 0 && statusCode === 413) body = {message: `over the limit of ${body} bytes`};
    const news = attempt(() => this._live.learn(exchange, statusCode, body, headers));
    const later = [...this._of(exchange.model), ...exchange.birth?.delayed ?? []];
    const reply = withEdits(news?.latest || body, exchange, later);
    for (const {xhr} of [...exchange.merged ?? [], exchange]) xhr.finish(statusCode, reply, headers);
    this._live.tell(news);
    exchange.birth?.end(statusCode, body).forEach(delayed => this._send(delayed));
    // What is not there is no refusal: the news that it is gone are on their way.
    if (statusCode >= 400 && statusCode !== 404) exchange.undo?.(exchange);
    this._ended(exchange);
  }

  // A model was destroyed before its create was answered. If that never left, it never happened.
  _miscarried(token) {
    const exchange = this._exchanges.get(token);
    if (!exchange) return;
    if (!this.client.withdraw(token)) return this._isOnline || this._keep(exchange);
    this._over(exchange);
    for (const {xhr} of [...exchange.merged ?? [], exchange]) xhr.abort();
  }

  _createOf(model) {
    return this._of(model).find(({birth}) => birth);
  }

  _status(state, unsent) {
    this._isOnline = state === 'online';
    if (!this._isOnline) for (const exchange of this._exchanges.values()) this._keep(exchange);
    this._tell('status', {state, unsent});
  }

  // What it had taken in is none of the abort's business.
  _aborted(token) {
    const exchange = this._exchanges.get(token);
    if (!exchange) return;
    this._over(exchange);
    this.client.abort(token);
    const waiting = [...exchange.merged ?? [], ...exchange.birth?.end() ?? []];
    waiting.forEach(other => this._send(other));
    this._ended(exchange);
  }

  // `again`: the rooms for which its model is to be read after it.
  _ended({model, again = []}) {
    for (const room of again) attempt(() => this._live.refetch(room, model));
    this._leaveRooms();
  }

  _isWriting(model) {
    return this._of(model).some(({method}) => method !== 'get');
  }

  _readOf(target) {
    return this._of(target).find(({method}) => method === 'get');
  }

  // What a model still waits for.
  _of(model) {
    const all = [];
    if (model) for (const exchange of this._exchanges.values()) if (exchange.model === model) all.push(exchange);
    return all;
  }

  _pathOf({url}) {
    return pathOf(url, this._base, this._server.origin);
  }

  // Failing
  // -------

  // The core has failed, and nothing it says can be trusted any more. Whoever waits is answered over
  // HTTP; from now on the page is as it was without us, or as near to that as it can be if its own
  // `sync` would not reach our server.
  _fall(error) {
    if (this.error) return;
    this.error = error;
    console.error('Backwire goes on over HTTP:', error);
    const http = new HttpClient(this._server.origin, this._session,
      (...asked) => this._page.fetch(...asked), (...reply) => attempt(() => this._finish(...reply)));
    this.client = http;
    this._deliveries.end();
    const isAtHome = this._server.origin === new URL(this._base).origin;
    if (isAtHome && this._Backbone.$?.ajax) this._unwrapSync();
    for (const [token, {key, method, url, body}] of this._exchanges) http.resend(token, key, method, url, body);
    this._status('offline', 0);
  }

  // Rooms
  // -----

  // A read on its way may be about to join this very room, and leaving it now would come after the
  // joining; so we wait for the reads.
  _leave(room) {
    this._leaving.add(room);
    this._leaveRooms();
  }

  _leaveRooms() {
    const isReading = [...this._exchanges.values()].some(exchange => exchange.method === 'get');
    if (isReading) return;
    for (const room of this._leaving) if (!this._live.has(room)) this.client.unsubscribe(room);
    this._leaving.clear();
  }

  // What is sent to a person is told to each tab, also when it is loaded again.
  _device() {
    let id = this._session;
    try {
      id = this._page.sessionStorage['backwire.device'] ??= id;
    } catch {}
    return id;
  }

  _listen(how) {
    this._page[how]?.('online', this._online);
    this._page[how]?.('offline', this._offline);
    // A page that is left may come back from the browser's cache; if it does not, what is on its way
    // is kept for the next one.
    this._page[how]?.('pageshow', this._online);
    this._page[how]?.('pagehide', this._offline);
    this._page[how]?.('error', this._trapped);
  }
}

// A panic in wasm arrives here as a trap.
function isTrap(error) {
  return typeof WebAssembly === 'object' && error instanceof WebAssembly.RuntimeError;
}

// Starts the idempotency keys of this page.
function session() {
  return [...random(4)].map(part => part.toString(16).padStart(8, '0')).join('');
}

function random(count) {
  return crypto.getRandomValues(new Uint32Array(count));
}
