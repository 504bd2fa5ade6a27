// One installation
// ----------------
//
// Stands between Backbone and the core: requests go down by token, replies and pushes come up.

import {attempt} from './attempt.js';
import {watchAnswer} from './answers.js';
import {Deliveries} from './deliveries.js';
import {Exchange} from './exchange.js';
import {HttpClient, parsed, sendOverHttp} from './http.js';
import {Kept, storageOf} from './kept.js';
import {OPAQUE, kindOf} from './kinds.js';
import {Live} from './live.js';
import {Notices} from './notices.js';
import {Outbox} from './outbox.js';
import {isPlain} from './records.js';
import {requestOf} from './request.js';
import {wrapSync} from './sync.js';
import {isCollection} from './targets.js';
import {Transport} from './transport.js';
import {pathOf, plainPath, serverAt, withQuery} from './url.js';

// How many paths are remembered that are asked for over HTTP.
const MAX_HTTP_PATHS = 1000;

export class Runtime {
  // `core` makes the core's parts: `makeClient` and `makeQueries`. `page` is the window, `identity` names the person whose
  // the writes are. Nothing of Backbone is touched if the core cannot be made.
  constructor(Backbone, core, {url, identity = '', site, token, bind, handlers, connect}, page, tell) {
    this._Backbone = Backbone;
    this._page = page;
    this._identity = identity;
    // As the core says; until then, as it will be.
    this._state = connect === false ? 'offline' : 'connecting';
    // Asked for only when it is needed, and may have changed by then.
    this._base = {toString: () => page.document?.baseURI || page.location?.href || url};
    this._server = serverAt(url, this._base);
    this._tell = tell;
    this._session = session();
    this._leaving = new Set();
    // Paths that the server answers over HTTP only.
    this._httpPaths = new Set();
    this._notices = new Notices(this._server.origin);
    this.error = null;
    this._setUpLive(core.makeQueries());
    this._setUpDeliveries(bind, handlers);
    this._person = site ? {site, token, deviceId: this._device()} : null;
    this.client = this._outbox.client = core.makeClient(this._server.socket, this._auth(), this._session, random(1)[0], this._listener());
    this._listenToPage();
    this._outbox.restore();
    Object.assign(this, wrapSync(Backbone, {
      begin: call => this._begin(call),
      notice: (...about) => this._notices.info(...about),
      adopt: (call, settings) => this._adopt(call, settings)
    }));
  }

  _setUpLive(queries) {
    const {_Backbone: Backbone, _page: page} = this;
    const kept = new Kept(storageOf(page), this._server.origin, this._identity, error =>
      console.warn('Backwire cannot keep writes:', error));
    const plainParse = Backbone.Model?.prototype.parse;
    this._live = new Live({
      queries,
      isWriting: model => this._outbox.isWriting(model),
      hasOwnParse: model => model.parse !== plainParse,
      isAdding: options => isAdding(options, Backbone.VERSION),
      ask: query => this._outbox.request('get', query.url, query.headers, (...answer) => this._live.answered(query, ...answer)),
      leave: room => this._leave(room),
      onAnswer: (answer, url, target) => this._explain(answer, url, target)
    });
    this._outbox = new Outbox({
      session: this._session, kept, live: this._live, tell: this._tell, isTrap,
      resolve: url => this._pathOf(url),
      divert: exchange => this._divert(exchange),
      fail: error => this._fall(error)
    });
    this._outbox.onEnded = () => this._leaveRooms();
  }

  _setUpDeliveries(bind, handlers) {
    const own = {__proto__: null, resync: () => this._live.refreshAll()};
    for (const event in bind) own[event] = (...args) => this._live.hear(bind[event], args.slice(0, -1));
    this._deliveries = new Deliveries(event => (event in handlers ? handlers : own)[event],
      id => attempt(() => this.client.delivered(id)), this._tell);
    if (Object.keys({...bind, ...handlers}).length) this._deliveries.start();
  }

  // What the core calls.
  _listener() {
    return {
      finish: (...reply) => this._outbox.finish(...reply),
      deliver: (room, changes) => (room ? this._live.deliver(room, changes) : this._deliveries.take(changes)),
      refresh: room => this._live.refresh(room),
      status: (state, unsent) => this._status(state, unsent),
      http: token => this._sendOverHttp(token),
      unauthorized: () => this._tell('unauthorized'),
      refused: reason => this._refused(reason)
    };
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

  startDeliveries() {
    this._deliveries.start();
  }

  // A handler was added, or an event is to be ignored: what waits for that goes on.
  handlersChanged() {
    this._deliveries.start();
    this._deliveries.handlersChanged();
  }

  // Leaves Backbone as it was. Everyone who waits for a reply is told that none will come; what is kept stays
  // so, for the next time this person is here.
  end() {
    this.unwrapSync();
    this._unlisten();
    this._live.end();
    this._deliveries.end();
    this._outbox.abortAll();
    this.client.disconnect();
    // Later, because the client may be the one that called us.
    Promise.resolve().then(() => this.client.free());
  }

  // Calls
  // -----

  // A call of `sync` begins. Returns what makes its XMLHttpRequest.
  _begin(call) {
    const {method, model, options} = call;
    call.kind = kindOf(method, model, options);
    if (method === 'read' && isPlain(options.data?.where)) options.data = {...options.data, where: JSON.stringify(options.data.where)};
    // While nothing can be answered soon, a page shows no sign of loading.
    if (call.isRealtime && this._state === 'offline' && options.global === undefined) options.global = false;
    if (call.isRealtime) this._watch(call);
    return () => new Transport(new (this._page.XMLHttpRequest ?? EventTarget)(), {
      send: (transport, body) => call.isRealtime && this._send(call, transport, body),
      prepare: transport => this._prepare(call, transport)
    }).xhr;
  }

  // Own creates that a fetch does not know of yet stay in their collection.
  _watch(call) {
    const {method, model: target, options} = call;
    if (!options.success || method === 'delete') return;
    const isList = isCollection(target);
    watchAnswer(target, options, {
      keep: isList && method === 'read' ? list => this._withCreates(target, call, list) : null,
      after: models => {
        call.models = models;
        this._live.wasSet(target, Array.isArray(models) ? models : undefined);
      }
    });
  }

  _withCreates(collection, call, list) {
    call.parsed = list;
    const creates = collection.models.filter(model => model.isNew() && this._outbox.isWriting(model));
    return creates.length ? [list ?? [], creates].flat() : list;
  }

  // Sends a request of the page by the socket, or returns false.
  _send(call, transport, body) {
    const path = this._pathOf(transport.url);
    if (path === null || this._httpPaths.has(plainPath(path))) return false;
    const request = requestOf(transport, path, body, call.made);
    if (!request) return false;
    const exchange = new Exchange({...request, call, transport, sent: body, kind: call.kind, made: call.made, model: call.model, options: call.options});
    this._outbox.ask(exchange);
    return true;
  }

  // The page's own XMLHttpRequest carries it. If it writes to something live, its echo is the page's own.
  _prepare({model}, {xhr, url, headers, method, isAsync}) {
    const path = this._pathOf(url);
    const isOwn = isAsync && path !== null && !/^(GET|HEAD|OPTIONS)$/.test(method) && this._live.follows(path);
    if (!isOwn) return;
    const exchange = new Exchange({kind: OPAQUE, method: method.toLowerCase(), url: path, headers: {...headers}, model});
    this._outbox.expect(exchange);
    if (!headers['idempotency-key']) xhr.setRequestHeader('Idempotency-Key', exchange.key);
    xhr.addEventListener('loadend', () => {
      if (!xhr.status) return exchange.whenAborted();
      this.client.answeredOverHttp(exchange.token, xhr.status, parsed(xhr.responseText), headersOf(xhr));
    });
  }

  // The server answers it over HTTP only.
  _divert({transport, sent, url}) {
    if (!transport?.isPending) return false;
    if (this._httpPaths.size < MAX_HTTP_PATHS) this._httpPaths.add(plainPath(url));
    transport.sendReal(sent);
    return true;
  }

  // An ajax function of the page reads this over HTTP: it is read once more, to be live.
  _adopt({method, model}, {url, data, traditional}) {
    const path = method === 'read' ? this._pathOf(url) : null;
    if (path !== null) this._live.adopt(model, withQuery(path, data, traditional));
  }

  // The link has been down for a while.
  async _sendOverHttp(token) {
    const exchange = this._outbox.get(token);
    if (!exchange) return;
    const {status, body, headers} = await this._fetch(exchange);
    attempt(() => this.client.answeredOverHttp(token, status, body, headers ?? {}));
    if (this._state === 'online') this._live.rejoin();
  }

  _fetch(request) {
    return sendOverHttp((...args) => this._page.fetch(...args), this._server.origin, request);
  }

  _pathOf(url) {
    return pathOf(url, this._base, this._server.origin);
  }

  // Messages
  // --------

  _explain(answer, url, target) {
    if (answer.isUndeclared && Array.isArray(answer.body) && !answer.body.length) this._notices.emptyList(answer.resource, plainPath(url));
    const {sync} = target.model?.prototype ?? {};
    if (sync && sync !== this._Backbone.Model.prototype.sync && sync !== this.sync) this._notices.ownSync(`the model of ${plainPath(url)}`);
  }

  _status(state, unsent) {
    const wasOnline = this._state === 'online';
    this._state = state;
    this._outbox.setOnline(state === 'online');
    if (state === 'online' && !wasOnline) this._live.rejoin();
    if (state === 'online') this._hasAsked = true;
    if (state === 'offline') this._findReason();
    this._tell('status', {state, unsent});
  }

  // A socket that cannot be opened does not say why; the same url, asked for by a request, does.
  async _findReason() {
    if (this._hasAsked || this.error || !this._page.fetch) return;
    this._hasAsked = true;
    const url = this._server.socket.replace(/^ws/, 'http');
    const {status, body} = await sendOverHttp((...args) => this._page.fetch(...args), '', {method: 'get', url, headers: {}});
    if (status === 403 && body?.code === 'E_ORIGIN') attempt(() => this.client.refuse(`E_ORIGIN: ${body.message}`));
  }

  _refused(reason) {
    console.error(`Backwire: the server refuses this page: ${reason.replace(/^E_\w+: /, '')}`);
    this._tell('refused', {reason});
  }

  _auth() {
    return this._person ? JSON.stringify(this._person) : undefined;
  }

  // Failing
  // -------

  // The core has failed, and nothing it says can be trusted any more. Everyone who waits is answered over
  // HTTP; from now on the page is as it was without us, or as near to that as it can be if its own
  // `sync` would not reach our server.
  _fall(error) {
    if (this.error) return;
    this.error = error;
    console.error('Backwire goes on over HTTP:', error);
    const http = new HttpClient(request => this._fetch(request), this._session, (...reply) => attempt(() => this._outbox.finish(...reply)));
    this.client = this._outbox.client = http;
    this._deliveries.end();
    this._live.end();
    const isAtHome = this._server.origin === new URL(this._base).origin;
    if (isAtHome && this._Backbone.$?.ajax) this.unwrapSync();
    for (const {token, method, url, headers, body, key, isElsewhere} of this._outbox.all) {
      http.request(token, method, url, JSON.stringify(headers), body, key, isElsewhere ? 2 : 0);
    }
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
    if (!this._leaving.size || this._outbox.isReading()) return;
    for (const room of this._leaving) if (!this._live.has(room)) this.client.unsubscribe(room);
    this._leaving.clear();
  }

  // The page
  // --------

  // What is sent to a person is told to each tab, also when it is loaded again.
  _device() {
    let id = this._session;
    try {
      id = this._page.sessionStorage['backwire.device'] ??= id;
    } catch {}
    return id;
  }

  // A page that is left may come back from the browser's cache; if it does not, what is on its way is kept for the next one.
  _listenToPage() {
    const online = () => this.client.online();
    const offline = () => this.client.offline();
    const trapped = ({error}) => { if (isTrap(error) && !this.client.isWell()) this._fall(error); };
    const blocked = ({effectiveDirective, blockedURI}) => {
      if (effectiveDirective === 'connect-src' && blockedURI.startsWith(this._server.socket.split('/socket.io')[0])) this._notices.blockedByPolicy(effectiveDirective);
    };
    const listeners = [[this._page, {online, offline, pageshow: online, pagehide: offline, error: trapped}],
      [this._page.document, {securitypolicyviolation: blocked}]];
    const each = how => {
      for (const [target, handlers] of listeners) for (const type in handlers) target?.[how]?.(type, handlers[type]);
    };
    each('addEventListener');
    this._unlisten = () => each('removeEventListener');
  }
}

// Does a fetch with these options add to what a collection shows? By default it takes its place.
function isAdding(options, version = '') {
  if (options.reset) return false;
  return options.remove === false || /^0\.([1-8]|9\.[0-2])/.test(version) && Boolean(options.add);
}

function headersOf(xhr) {
  const lines = xhr.getAllResponseHeaders().trim().split(/\r?\n/);
  return Object.fromEntries(lines.map(line => {
    const [, name, value] = /^([^:]*):\s*(.*)$/.exec(line) ?? [null, '', ''];
    return [name.toLowerCase(), value];
  }));
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
