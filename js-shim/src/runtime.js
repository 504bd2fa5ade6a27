// One installation
// ----------------
//
// Stands between Backbone and the core: requests go down by token, replies and pushes come up.

import {splitRoom} from './answer.js';
import {attempt} from './attempt.js';
import {watchAnswer} from './answers.js';
import {Exchange} from './exchange.js';
import {Kept, storageOf} from './kept.js';
import {OPAQUE, kindOf} from './kinds.js';
import {CREATED, DESTROYED, Live} from './live.js';
import {Outbox} from './outbox.js';
import {isPlain} from './records.js';
import {headersOf, parsed, requestOf} from './request.js';
import {wrapSync} from './sync.js';
import {isCollection} from './targets.js';
import {Transport} from './transport.js';
import {pathOf, plainPath, serverAt} from './url.js';

// How many paths are remembered that are asked for over HTTP.
const MAX_HTTP_PATHS = 1000;

export class Runtime {
  // `core` makes the core's parts and loads the extras (see `wasm.js`); `page` is the window, `identity` names the person
  // whose the writes are, `tell(event, about)` is for the app. Nothing of Backbone is touched if the core cannot be made.
  constructor(Backbone, core, {url, identity = '', site, token, bind, handlers, connect}, page, tell) {
    Object.assign(this, {_Backbone: Backbone, _page: page, extras: core.extras, tell, _handlers: handlers, _bind: bind, error: null});
    // Asked for only when it is needed, and may have changed by then.
    this._base = {toString: () => page.document?.baseURI || page.location?.href || url};
    this._server = serverAt(url, this._base);
    // As the core says; until then, as it will be.
    this._state = connect === false ? 'offline' : 'connecting';
    this._leaving = new Set();
    // Paths that the server answers over HTTP only.
    this._httpPaths = new Set();
    const kept = new Kept(storageOf(page), this._server.origin, identity, error => console.warn('Backwire cannot keep writes:', error));
    this._live = new Live(this, core.makeQueries());
    this._outbox = new Outbox(this, this._live, kept, session());
    this._person = site ? {site, token, deviceId: this._device()} : null;
    this.client = core.makeClient(this._server.socket, this._auth(), this._outbox.session, random(1)[0], this);
    if (Object.keys({...bind, ...handlers}).length) this.handlersChanged();
    this._listenToPage();
    this._outbox.start(this.extras);
    Object.assign(this, wrapSync(Backbone, this));
  }

  // No longer live, also if a read of it is still on its way.
  stop(target) {
    for (const exchange of this._outbox.of(target)) exchange.isStopped = true;
    this._live.stop(target);
  }

  // Signs the page's person in, or as somebody else; writes that waited for it go on.
  authenticate(token) {
    if (this._person) this._person.token = token;
    this.client.authenticate(this._auth());
  }

  _auth() {
    return this._person ? JSON.stringify(this._person) : undefined;
  }

  // Leaves Backbone as it was. Everyone who waits for a reply is told that none will come; what is kept stays
  // so, for the next time this person is here.
  end() {
    this.unwrapSync();
    this._unlisten();
    this._live.end();
    this._isEnded = true;
    this._deliveries?.end();
    this._outbox.abortAll();
    this.client.disconnect();
    // Later, because the client may be the one that called us.
    Promise.resolve().then(() => this.client.free());
  }

  // What the core calls
  // -------------------

  finish(...reply) {
    this._outbox.finish(...reply);
  }

  deliver(room, changes) {
    if (room) this._live.news(splitRoom(room)[0], room, changes);
    else this._withDeliveries(deliveries => deliveries.take(changes));
  }

  refresh(room) {
    this._live.refresh(room);
  }

  status(state, unsent) {
    const isBack = state === 'online' && this._state !== state;
    this._state = state;
    this._outbox.setOnline(state === 'online');
    if (isBack) this._live.refresh('');
    if (state === 'offline') this._notice('findReason', this._page, this._server.socket, reason => this.client.refuse(reason));
    this.tell('status', {state, unsent});
  }

  // The link has been down for a while.
  http(token) {
    const exchange = this._outbox.get(token);
    this.extras.use(async extras => {
      const {status, body, headers} = await extras?.sendOverHttp(this._page, this._server.origin, exchange) ?? {status: 0};
      attempt(() => this.client.answeredOverHttp(token, status, body, headers ?? {}));
      if (this._state === 'online') this._live.refresh('');
    });
  }

  unauthorized() {
    this.tell('unauthorized');
  }

  refused(reason) {
    console.error('Backwire: the server refuses this page: ' + reason);
    this.tell('refused', {reason});
  }

  // Calls of the page
  // -----------------

  // A call of `sync` begins. Returns what makes its XMLHttpRequest.
  begin(call) {
    const {method, model, options, isRealtime} = call;
    call.kind = kindOf(method, model, options);
    if (method === 'read' && isPlain(options.data?.where)) options.data = {...options.data, where: JSON.stringify(options.data.where)};
    // While nothing can be answered soon, a page shows no sign of loading.
    if (isRealtime && this._state === 'offline') options.global ??= false;
    if (isRealtime) this._watch(call);
    return () => new Transport(new (this._page.XMLHttpRequest ?? EventTarget)(), this, call).xhr;
  }

  // Own creates that a fetch does not know of yet stay in their collection.
  _watch(call) {
    const {method, model: target, options} = call;
    if (!options.success || method === 'delete') return;
    const keep = list => {
      call.parsed = list;
      const creates = target.models.filter(model => model.isNew() && this._outbox.isWriting(model));
      return creates.length ? [list ?? [], creates].flat() : list;
    };
    watchAnswer(target, options, isCollection(target) && method === 'read' && keep, models => {
      call.models = models;
      this._live.wasSet(target, models);
    });
  }

  // Sends a request of the page by the socket, or returns false.
  send(transport, sent) {
    const {kind, made, model, options, isRealtime} = transport.call;
    const path = isRealtime ? this.pathOf(transport.url) : null;
    if (path === null || this._httpPaths.has(plainPath(path))) return false;
    const request = requestOf(transport, path, sent, made);
    if (request) this._outbox.ask(new Exchange({...request, transport, sent, kind, made, model, options}));
    return Boolean(request);
  }

  // The page's own XMLHttpRequest sends it. If it writes to something live, its echo is the page's own.
  prepare({call: {model}, xhr, url, headers, method, isAsync}) {
    const path = this.pathOf(url);
    if (!isAsync || path === null || /^(GET|HEAD|OPTIONS)$/.test(method) || !this._live.follows(path)) return;
    const exchange = new Exchange({kind: OPAQUE, method: method.toLowerCase(), url: path, headers: {...headers}, model, isElsewhere: true});
    this._outbox.expect(exchange);
    if (!headers['idempotency-key']) xhr.setRequestHeader('Idempotency-Key', exchange.key);
    xhr.addEventListener('loadend', () => {
      if (!xhr.status) return exchange.whenAborted();
      this.client.answeredOverHttp(exchange.token, xhr.status, parsed(xhr.responseText), headersOf(xhr));
    });
  }

  // The server answers it over HTTP only.
  divert({transport, sent, url}) {
    if (!transport?.isPending) return false;
    if (this._httpPaths.size < MAX_HTTP_PATHS) this._httpPaths.add(plainPath(url));
    transport.sendReal(sent);
    return true;
  }

  // Ajax where the page has none. A page without jQuery has loaded the extras before; else they come in a moment.
  ajax(settings) {
    let result, resolve;
    this.extras.use(extras => {
      result = extras?.ajax(settings);
      resolve?.(result);
    });
    return result ?? new Promise(it => { resolve = it; });
  }

  // An ajax function of the page does not use `settings.xhr`, and reads this over HTTP: it is read once more, to be live.
  adopt({method, model}, {url, data}) {
    this._notice('ownAjax');
    const path = method === 'read' ? this.pathOf(url) : null;
    if (path !== null) this.extras.use(extras => extras?.adopt(this._live, model, extras.withQuery(path, data)));
  }

  pathOf(url) {
    return pathOf(url, this._base, this._server.origin);
  }

  // What the live part asks for
  // ---------------------------

  isWriting(model) {
    return this._outbox.isWriting(model);
  }

  hasOwnParse(model) {
    return model.parse !== this._Backbone.Model.prototype.parse;
  }

  // Does a fetch with these options add to what a collection shows? By default it takes its place.
  isAdding({reset, remove, add}) {
    return !reset && (remove === false || /^0\.([1-8]|9\.[0-2])/.test(this._Backbone.VERSION) && Boolean(add));
  }

  // Sends a query again; what to do with the answer is loaded before.
  ask(query, number) {
    this.extras.use(extras => {
      const refreshed = (...answer) => extras?.refreshed(this._live, number, ...answer);
      if (query && extras) this._outbox.request(query, refreshed);
      else this._live.decide(() => this._live.queries.failed(number, !query));
    });
  }

  // The page has read something: if that may not be what the developer expects, the console says so.
  wasRead(answer, url, target) {
    const {prototype} = this._Backbone.Model;
    const {sync = prototype.sync} = target.model?.prototype ?? {};
    if (answer.isUndeclared && answer.body.length === 0) this._notice('emptyList', answer.resource, plainPath(url));
    if (sync !== prototype.sync && sync !== this.sync) this._notice('ownSync', plainPath(url));
  }

  // Records were added to a collection that the page may be adding itself.
  wereAdded(collection) {
    const isForeign = model => model.isNew() && !this._outbox.isWriting(model);
    if (collection.models.some(isForeign)) this.extras.use(extras => extras?.watchForTwins(collection, model => this._outbox.isWriting(model)));
  }

  // A read on its way may be about to join this very room, and leaving it now would come after the
  // joining; so we wait for the reads.
  leave(room) {
    if (room) this._leaving.add(room);
    this.wasAnswered();
  }

  // A request is over.
  wasAnswered() {
    if (!this._leaving.size || this._outbox.isReading()) return;
    for (const room of this._leaving) if (!this._live.has(room)) this.client.unsubscribe(room);
    this._leaving.clear();
  }

  _notice(name, ...about) {
    this.extras.use(extras => {
      this._notices ??= extras && new extras.Notices(this._server.origin);
      if (!this._isEnded && !this.error) this._notices?.[name](...about);
    });
  }

  // What back ends send
  // -------------------

  // A handler was added, or an event is to be ignored.
  handlersChanged() {
    this._withDeliveries(deliveries => deliveries.handlersChanged());
  }

  _withDeliveries(call) {
    this.extras.use(extras => {
      this._deliveries ??= extras && new extras.Deliveries(event => this._handlerOf(event), id => attempt(() => this.client.delivered(id)), this.tell);
      if (this._isEnded) this._deliveries?.end();
      if (this._deliveries) call(this._deliveries);
    });
  }

  _handlerOf(event) {
    if (event in this._handlers) return this._handlers[event];
    if (this._bind?.[event]) return (...args) => this._hear(this._bind[event], args.slice(0, -1));
    return event === 'resync' ? () => this._live.decide(() => this._live.queries.refreshAll()) : undefined;
  }

  // What a back end has sent of a record, in one of the arguments; in another, that it is gone.
  _hear(resource, args) {
    const record = args.filter(isPlain).pop();
    const verb = args.some(arg => /^(remove|delete|destroy)/.test(arg)) ? DESTROYED : CREATED;
    this._live.news(resource, resource, [[undefined, verb, record?.id ?? args.at(-1), record]]);
  }

  // What is sent to a person is sent to each tab, also when it is loaded again.
  _device() {
    let id = this._outbox.session;
    try {
      id = this._page.sessionStorage['backwire.device'] ??= id;
    } catch {}
    return id;
  }

  // Failing
  // -------

  isTrap(error) {
    return typeof WebAssembly === 'object' && error instanceof WebAssembly.RuntimeError;
  }

  // The core has failed, and nothing it says can be trusted any more. Everyone who waits is answered over
  // HTTP; from now on the page is as it was without us, or as near to that as it can be if its own
  // `sync` would not reach our server.
  fail(error) {
    if (this.error) return;
    this.error = error;
    console.error('Backwire goes on over HTTP:', error);
    this._live.end();
    this._deliveries?.end();
    const {origin} = this._server;
    if (origin === new URL(this._base).origin && this._Backbone.$?.ajax) this.unwrapSync();
    this.client = new Proxy({}, {get: () => () => {}});
    this.extras.use(extras => extras && this._goOn(new extras.HttpClient(this._page, origin, this._outbox)));
    this.status('offline', 0);
  }

  _goOn(client) {
    this.client = client;
    for (const {token, method, url, headers, body, key, isElsewhere} of this._outbox.all) {
      client.request(token, method, url, JSON.stringify(headers), body, key, isElsewhere ? 2 : 0);
    }
  }

  // A page that is left may come back from the browser's cache; if it does not, what is on its way is kept for the next one.
  _listenToPage() {
    const online = () => this.client.online();
    const offline = () => this.client.offline();
    const listeners = {
      online, offline, pageshow: online, pagehide: offline,
      error: ({error}) => { if (this.isTrap(error) && !this.client.isWell()) this.fail(error); },
      securitypolicyviolation: ({blockedURI}) => { if (this._server.socket.startsWith(blockedURI)) this._notice('blockedByPolicy'); }
    };
    const each = how => {
      for (const type in listeners) (type[0] === 's' ? this._page.document : this._page)?.[how]?.(type, listeners[type]);
    };
    each('addEventListener');
    this._unlisten = () => each('removeEventListener');
  }
}

// Starts the idempotency keys of this page.
function session() {
  return [...random(4)].map(part => part.toString(16).padStart(8, '0')).join('');
}

function random(count) {
  return crypto.getRandomValues(new Uint32Array(count));
}
