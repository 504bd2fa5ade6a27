// One installation
// ----------------
//
// Stands between Backbone and the core: requests go down by token, replies and pushes come up.

import {attempt} from './attempt.js';
import {Birth} from './birth.js';
import {asPatch, withEdits} from './edits.js';
import {HttpClient} from './http.js';
import {Kept, storageOf} from './kept.js';
import {Live} from './live.js';
import {isCarried, requestOf} from './request.js';
import {wrapSync} from './sync.js';
import {pathOf, serverAt} from './url.js';
import {Xhr} from './xhr.js';

export class Runtime {
  // `page` is the window. Nothing of Backbone is touched if the client cannot be made.
  constructor(Backbone, makeClient, url, page, onStatus) {
    this._Backbone = Backbone;
    this._page = page;
    this._server = serverAt(url, baseOf(page));
    // Requests the app still waits for, by token.
    this._exchanges = new Map();
    this._leaving = new Set();
    // Whether what is asked now is sent now.
    this._isOnline = false;
    this._live = new Live(model => this._isWriting(model), room => this._leave(room));
    this._session = session();
    this._onStatus = onStatus;
    this._kept = new Kept(storageOf(page), this._server.origin, error =>
      console.warn('Backwire can not keep writes over a reload:', error));
    this.error = null;
    this.client = makeClient(this._server.socket, this._session, random(1)[0], {
      finish: (...reply) => attempt(() => this._finish(...reply)),
      deliver: (room, changes) => attempt(() => this._live.deliver(room, changes)),
      refresh: room => attempt(() => this._live.refresh(room)),
      status: (state, unsent) => attempt(() => this._status(state, unsent))
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

  // Leaves Backbone as it was. Whoever waits for a reply is told that none will come.
  end() {
    this._unwrapSync();
    this._listen('removeEventListener');
    this._live.end();
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
    const exchange = {...request, model, options: kept(options), xhr, timeout: settings.timeout || 0};
    this._send(this._isOnline ? exchange : asPatch(exchange, this._live.recordOf(model)));
    return xhr;
  }

  // A model whose create is on its way is not created again: what it asks for meanwhile waits.
  _send(exchange) {
    const create = exchange.method === 'post' && this._createOf(exchange.model);
    if (create && !this._merge(create, exchange)) return create.birth.delay(exchange);
    const {method, url, body, timeout, xhr} = exchange;
    try {
      const token = this.client.request(method, url, body, timeout);
      this._begun(token, {...exchange, key: `${this._session}-${token}`});
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
    if (exchange.method === 'post' && exchange.model) {
      exchange.birth = new Birth(exchange, () => this._miscarried(token));
    }
    if (!this._isOnline) this._keep(exchange);
  }

  // A create that has not left takes in what is saved after it: one create is all the server sees, and
  // its reply answers both.
  _merge(create, exchange) {
    if (!this.client.withdraw(create.token)) return false;
    this._over(create);
    create.birth.end();
    exchange.body = JSON.stringify({...JSON.parse(create.body || '{}'), ...JSON.parse(exchange.body || '{}')});
    exchange.merged = [...create.merged ?? [], create];
    return true;
  }

  // What is known of an exchange while it lasts.
  _over({token, key}) {
    this._exchanges.delete(token);
    this._kept.forget(key);
  }

  _keep(exchange) {
    if (exchange.method !== 'get') this._kept.keep(exchange);
  }

  // What an earlier page did not live to see answered. Nobody waits for it here, but its reply is news.
  _restore() {
    for (const {key, method, url, body} of this._kept.restore()) {
      const xhr = new Xhr({});
      xhr.begin();
      const token = this.client.request(method, url, body, 0, key);
      this._begun(token, {key, method, url, body, model: null, options: {}, xhr});
    }
  }

  _finish(token, statusCode, body, headers = {}) {
    const exchange = this._exchanges.get(token);
    if (!exchange) return;
    this._over(exchange);
    const news = attempt(() => this._live.learn(exchange, statusCode, body, headers));
    const later = [...this._exchanges.values()].filter(({model}) => model && model === exchange.model);
    later.push(...exchange.birth?.delayed ?? []);
    const reply = withEdits(body, exchange, later);
    for (const {xhr} of [...exchange.merged ?? [], exchange]) xhr.finish(statusCode, reply, headers);
    this._live.tell(news);
    exchange.birth?.end(statusCode, body).forEach(delayed => this._send(delayed));
    this._leaveRooms();
  }

  // A model was destroyed before its create was answered. If that never left, it never happened.
  _miscarried(token) {
    const exchange = this._exchanges.get(token);
    if (!exchange || !this.client.withdraw(token)) return;
    this._over(exchange);
    for (const {xhr} of [...exchange.merged ?? [], exchange]) xhr.abort();
  }

  _createOf(model) {
    return [...this._exchanges.values()].find(exchange => exchange.birth && exchange.model === model);
  }

  _status(state, unsent) {
    this._isOnline = state === 'online';
    if (!this._isOnline) for (const exchange of this._exchanges.values()) this._keep(exchange);
    this._onStatus({state, unsent});
  }

  // What it had taken in is none of the abort's business.
  _aborted(token) {
    const exchange = this._exchanges.get(token);
    if (!exchange) return;
    this._over(exchange);
    this.client.abort(token);
    const waiting = [...exchange.merged ?? [], ...exchange.birth?.end() ?? []];
    waiting.forEach(other => this._send(other));
    this._leaveRooms();
  }

  _isWriting(model) {
    for (const exchange of this._exchanges.values()) {
      if (exchange.model === model && exchange.method !== 'get') return true;
    }
    return false;
  }

  _pathOf({url}) {
    return pathOf(url, baseOf(this._page), this._server.origin);
  }

  // Failing
  // -------

  // The core has failed, and nothing it says can be trusted any more. Whoever waits is answered over
  // HTTP; from now on the page is as it was without us, or as near to that as it can be if its own
  // `sync` would not reach our server.
  _fall(error) {
    if (this.error) return;
    this.error = error;
    console.error('Backwire failed and goes on over HTTP, nothing is live any more:', error);
    const http = new HttpClient(this._server.origin, this._session,
      (...asked) => this._page.fetch(...asked), (...reply) => attempt(() => this._finish(...reply)));
    this.client = http;
    const isAtHome = this._server.origin === new URL(baseOf(this._page)).origin;
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

// What a read needs to be done again, of the options it was made with: no callbacks, no reset.
function kept({success, error, complete, beforeSend, statusCode, context, xhr, reset, timeout, ...options}) {
  return options;
}

function baseOf(page) {
  return page.document?.baseURI || page.location?.href;
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
