// One installation
// ----------------
//
// One installation of Backwire on a page. Requests of the page go through here to the core, each
// with a token. Calls from the core (answers, pushes, state changes) go to the `Receiver`, and are
// queued until it is loaded.

import {attempt} from './attempt.js';
import {Connections} from './connections.js';
import {Exchange} from './exchange.js';
import {Kept, storageOf} from './kept.js';
import {Outbox} from './outbox.js';
import {listenToPage} from './page-events.js';
import {isPlain} from './records.js';
import {requestOf} from './request.js';
import {canShare, openShared} from './sharing.js';
import {wrapSync} from './sync.js';
import {Transport} from './transport.js';
import {pathOf, plainPath, serverAt} from './url.js';

// Maximum number of remembered paths that the server serves over HTTP only.
const MAX_HTTP_PATHS = 1000;

// Replaces a client that has failed or was freed. Every method does nothing.
const NO_CLIENT = new Proxy({}, {get: () => () => {}});

export class Runtime {
  // `core` makes the core's parts and loads the scripts (see `wasm.js`). `page` is the window.
  // `identity` names the user, for kept writes. `notify(event, about)` reports events to the app.
  // Backbone stays untouched if the core cannot be made.
  constructor(Backbone, core, {url, path, identity = '', site, token, auth, bind, handlers, connect, realtime, fallback, adopt, shared}, page, notify) {
    Object.assign(this, {Backbone, page, notify, handlers, bind, adopt, identity: `${identity}`, use: core.use, error: null});
    this.isOptIn = realtime === 'optin';
    this._fallsBack = fallback === 'ajax';
    // The targets that were read by plain Ajax while offline, with their urls.
    this._readOffline = new Map();
    // Evaluated at each use, because the page may change its base url.
    this._base = {toString: () => page.document?.baseURI || page.location?.href || url};
    this.server = serverAt(url, this._base, path);
    // The state that the core reported last; before that, the state it begins with.
    this.state = connect === false ? 'offline' : 'connecting';
    // Paths that the server serves over HTTP only.
    this._httpPaths = new Set();
    const name = session();
    const kept = new Kept(storageOf(page), page.navigator?.locks, [this.server.origin, identity, name], error => console.warn('Backwire cannot keep writes:', error));
    this.outbox = new Outbox(this, kept, name);
    // The auth of each CONNECT, if there is any.
    this.person = site || token || auth ? {...auth, site, token, deviceId: site && this._device()} : null;
    this.isAsked = Boolean(this.person);
    // The memory of the shared connections of this tab.
    this.sharing = canShare(page, shared && !this.person) ? {term: 0, closedAt: 0} : null;
    this._setUpReceiver(core);
    this._connections = new Connections(page, core.use);
    this.client = core.makeClient(this.server.socket, this.isAsked ? undefined : '', this.outbox.session, random(1)[0], this);
    if (Object.keys({...bind, ...handlers}).length) this.handlersChanged();
    this._unlisten = listenToPage(page, this);
    this.outbox.start();
    Object.assign(this, wrapSync(Backbone, this));
  }

  // Calls from the core
  // -------------------

  // Calls for the receiver are queued until its parts are loaded. Then they are made in order.
  _setUpReceiver({use, unpack}) {
    const waiting = [];
    for (const name of ['finish', 'deliver', 'refresh', 'resumed', 'http', 'authenticate', 'unauthorized', 'refused', 'handlersChanged', 'continueOverHttp', 'wasAnswered', 'explain', 'showKept', 'readAgain']) {
      this[name] = (...about) => (this.receiver ? this.receiver[name](...about) : waiting.push([name, about]));
    }
    const parts = {};
    for (const part of ['live', 'queries']) use(part, loaded => {
      parts[part] = loaded;
      if (this._isEnded || this._hasGivenUp) return;
      if (!loaded) return this._giveUp(new Error(`backwire.${part}.js could not be loaded`));
      if (!parts.live || !parts.queries) return;
      this.receiver = new parts.live.Receiver(this, parts.queries, unpack);
      for (const [name, about] of waiting) attempt(() => this.receiver[name](...about));
    });
  }

  // Opens a connection of the core.
  open(url) {
    const open = () => this._connections.open(url);
    const socket = this.socket = this.sharing ? openShared(this, url, open) : open();
    // The core sets its listeners when this has returned.
    if (this._debugs) Promise.resolve().then(() => this._logFrames());
    return socket;
  }

  // Logs the frames of this connection and of later ones, or ends that.
  debug(isOn) {
    if (this._debugs === isOn) return;
    this._debugs = isOn;
    if (isOn) this._logFrames();
    else this._endLog?.();
  }

  _logFrames() {
    this.use('debug', part => {
      if (!part || !this._debugs || !this.socket?.onmessage) return;
      this._endLog?.();
      this._endLog = part.logFrames(this.socket, console.log, Date.now);
    });
  }

  status(state, unsent) {
    const isBack = state === 'online' && this.state !== state;
    this.state = state;
    this._wasOnline ||= isBack;
    this.outbox.setOnline(state === 'online');
    if (isBack) {
      this.receiver?.rejoin();
      this._readOfflineAgain();
    }
    if (state === 'offline' && this.isWanted && !this.error && this.page.navigator?.onLine !== false) this.explain('findReason', this.page, this.server.socket, this._wasOnline, reason => this.client.refuse(reason));
    this.notify('status', {state, unsent});
  }

  // Calls from the app
  // ------------------

  connect() {
    this.isWanted = true;
    this.client.connect();
  }

  disconnect() {
    this.isWanted = false;
    this.client.disconnect();
  }

  // Stops the updates of a collection or model. A pending read does not start them again.
  stop(target) {
    for (const exchange of this.outbox.requestsOf(target)) exchange.isStopped = true;
    this.live?.stop(target);
  }

  // Sets the token of the page's user, or other auth. The next connection uses it, and sends writes
  // that wait after a 401 again. A core that was made without auth does not ask for it.
  setAuth({token = this.person?.token, auth}) {
    this.person = {...this.person, ...auth, token};
    this.sharing = null;
    this.client.reconnect();
    this.client.authenticate(this.isAsked ? '' : JSON.stringify(this.person));
  }

  // Restores Backbone and aborts unanswered requests. Kept writes stay kept, for the next
  // installation with this identity.
  end() {
    const {client} = this;
    this._stepAside();
    this._unlisten();
    this._isEnded = true;
    this.receiver?.end();
    this.outbox.abortAll();
    client.disconnect();
    // A freed client throws, and answers over HTTP may still arrive.
    this.client = NO_CLIENT;
    // Freed later, because the client may be further up the stack.
    Promise.resolve().then(() => client.free());
  }

  // From now on the page's own XMLHttpRequests send its requests, including those that wait for a
  // part to be loaded.
  _stepAside() {
    this.unwrapSync();
    this.outbox.stepAside();
  }

  // Requests of the page
  // --------------------

  // Begins a call of `sync`. Returns the factory of its XMLHttpRequest.
  begin(call) {
    const {method, options, isRealtime} = call;
    if (method === 'read' && isPlain(options.data?.where)) options.data = {...options.data, where: JSON.stringify(options.data.where)};
    // Global Ajax events would start a loading indicator that runs until the connection is back.
    if (isRealtime && this.state === 'offline' && !this._fallsBack) options.global ??= false;
    if (isRealtime && method !== 'delete') this._watch(call);
    return () => {
      const made = call.pageXhr?.call(options);
      // An object that is no XMLHttpRequest is left alone.
      if (made && Object.hasOwn(made, 'send')) return made;
      return new Transport(made ?? new (this.page.XMLHttpRequest ?? EventTarget)(), this, call).xhr;
    };
  }

  // Backbone sets an answer in its `success` callback, and the receiver has to observe that.
  _watch(call) {
    const {success} = call.options;
    const runtime = this;
    call.options.success = function(...args) {
      const run = () => [success].flat(Infinity).forEach(callback => callback?.apply(this, args));
      if (runtime.receiver) runtime.receiver.setAnswer(call, run);
      else run();
    };
  }

  // Sends a request of the page over the socket. Returns false if the socket cannot carry it.
  send(transport) {
    const {kind, made, model, options, isRealtime, isLive, pageXhr} = transport.call;
    const path = isRealtime && !pageXhr ? this.pathOf(transport.url) : null;
    if (path === null || this._httpPaths.has(plainPath(path)) || this._usesFallback(transport, path)) return false;
    const request = requestOf(transport, path, made);
    if (request) this.outbox.submit(new Exchange({...request, transport, kind, made, model, options, isStopped: !isLive}));
    return Boolean(request);
  }

  // Whether the page's own XMLHttpRequest sends this request because the page is offline. Writes
  // that wait for the socket come first, so the request waits behind them.
  _usesFallback({call: {method, model, isLive}}, path) {
    if (!this._fallsBack || this.state !== 'offline' || this.outbox.writes.length) return false;
    if (method === 'read' && isLive) this._readOffline.set(model, path);
    return true;
  }

  // Makes the targets live that were read by plain Ajax while offline.
  _readOfflineAgain() {
    for (const [target, path] of this._readOffline) this.readAgain(target, path);
    this._readOffline.clear();
  }

  // Tells the page about a write that cannot be sent now, or had waited: `what` is `queued`,
  // `saved` or `rejected`.
  tell(what, {model, method, url, body}, status) {
    const write = {method, url, body};
    attempt(() => model?.trigger?.(`backwire:${what}`, model, write, status));
    if (what !== 'rejected') this.notify(what, {write, model: model ?? null});
  }

  // Called before the page's own XMLHttpRequest sends a request.
  prepare(transport) {
    this.receiver?.willSendReal(transport);
  }

  // Sends this request by the page's own XMLHttpRequest, together with the requests that were
  // merged into it or wait for it.
  divert({transport, url, mergedCreates, pendingCreate}) {
    if (!transport?.isPending) return false;
    if (this._httpPaths.size < MAX_HTTP_PATHS) this._httpPaths.add(plainPath(url));
    for (const other of mergedCreates) this.divert(other);
    try {
      transport.sendReal();
    } catch {
      // The browser refuses it, for example for a header that only the socket can carry.
      transport.end('error');
    }
    for (const other of pendingCreate?.end() ?? []) this.divert(other);
    return true;
  }

  // `Backbone.ajax` for pages without one. Pages without jQuery have loaded the part before their
  // first call. Otherwise the result is a promise.
  ajax(settings) {
    let result, resolve;
    this.use('extra', extras => {
      result = extras ? extras.ajax(settings) : settings.error?.({status: 0});
      resolve?.(result);
    });
    return result ?? new Promise(it => { resolve = it; });
  }

  // The page's ajax function did not use `settings.xhr`, so it has read this over HTTP. The target
  // is read again over the socket, to be live.
  readAgainOverSocket({method, model}, {url, data}) {
    this.explain('ownAjax');
    const path = method === 'read' ? this.pathOf(url) : null;
    if (path !== null) this.readAgain(model, path, data);
  }

  pathOf(url) {
    return pathOf(url, this._base, this.server.origin);
  }

  // The live collections and models; undefined until the receiver is loaded.
  get live() {
    return this.receiver?.live;
  }

  // The device id of this tab, which stays the same over reloads. The push service delivers each
  // event to every tab of a person.
  _device() {
    let id = this.outbox.session;
    try {
      id = this.page.sessionStorage['backwire.device'] ??= id;
    } catch {}
    return id;
  }

  // Failures
  // --------

  isTrap(error) {
    return typeof WebAssembly === 'object' && error instanceof WebAssembly.RuntimeError;
  }

  // The core has failed, and its state cannot be trusted any more. Pending requests are answered
  // over HTTP. From now on the page's own `sync` makes the requests, unless it would not reach this
  // server.
  fail(error) {
    if (this.error) return;
    this.error = error;
    console.error('Backwire goes on over HTTP:', error);
    if (this.server.origin === new URL(this._base).origin && this.Backbone.$?.ajax) this.unwrapSync();
    this.client = NO_CLIENT;
    this.continueOverHttp();
    this.status('offline', 0);
  }

  // The receiver cannot be loaded. The page's own XMLHttpRequests send its requests, as without
  // Backwire.
  _giveUp(error) {
    this._hasGivenUp = true;
    this.error = error;
    console.error('Backwire could not start:', error);
    this._stepAside();
    this.client.disconnect();
    // A write that is sent here must not stay kept. The next page would send it again, with another
    // key.
    for (const exchange of this.outbox.all) if (this.divert(exchange)) this.outbox.removeExchange(exchange);
    this.status('offline', 0);
  }
}

// The prefix of this page's idempotency keys.
function session() {
  return [...random(4)].map(part => part.toString(16).padStart(8, '0')).join('');
}

function random(count) {
  return crypto.getRandomValues(new Uint32Array(count));
}
