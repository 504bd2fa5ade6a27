// One installation
// ----------------
//
// Stands between Backbone and the core. Here requests go down, by token; replies and pushes that come up are for the
// `Receiver`, and wait until that is loaded.

import {Exchange} from './exchange.js';
import {Kept, storageOf} from './kept.js';
import {OPAQUE, kindOf} from './kinds.js';
import {Outbox} from './outbox.js';
import {isPlain} from './records.js';
import {headersOf, parsed, requestOf} from './request.js';
import {wrapSync} from './sync.js';
import {Transport} from './transport.js';
import {pathOf, plainPath, serverAt} from './url.js';

// How many paths are remembered that are asked for over HTTP.
const MAX_HTTP_PATHS = 1000;

// Takes the place of a client that has failed or is freed: every method does nothing.
const NO_CLIENT = new Proxy({}, {get: () => () => {}});

export class Runtime {
  // `core` makes the core's parts and loads ours (see `wasm.js`); `page` is the window, `identity` names the person
  // whose the writes are, `tell(event, about)` is for the app. Nothing of Backbone is touched if the core cannot be made.
  constructor(Backbone, core, {url, identity = '', site, token, bind, handlers, connect}, page, tell) {
    Object.assign(this, {Backbone, page, tell, handlers, bind, extras: core.extras, error: null});
    // Asked for only when it is needed, and may have changed by then.
    this._base = {toString: () => page.document?.baseURI || page.location?.href || url};
    this.server = serverAt(url, this._base);
    // As the core says; until then, as it will be.
    this.state = connect === false ? 'offline' : 'connecting';
    // Paths that the server answers over HTTP only.
    this._httpPaths = new Set();
    const kept = new Kept(storageOf(page), this.server.origin, identity, error => console.warn('Backwire cannot keep writes:', error));
    this.outbox = new Outbox(this, kept, session());
    this._person = site ? {site, token, deviceId: this._device()} : null;
    this._setUpReceiver(core);
    this.client = core.makeClient(this.server.socket, this._auth(), this.outbox.session, random(1)[0], this);
    if (Object.keys({...bind, ...handlers}).length) this.handlersChanged();
    this._listenToPage();
    this.outbox.start();
    Object.assign(this, wrapSync(Backbone, this));
  }

  // What the core calls
  // -------------------

  // Until the receiver is there, what is for it waits, in order.
  _setUpReceiver(core) {
    const queries = core.makeQueries();
    const waiting = [];
    for (const name of ['finish', 'deliver', 'refresh', 'http', 'unauthorized', 'refused', 'handlersChanged', 'goOn', 'wasAnswered', 'explain', 'showKept', 'readAgain']) {
      this[name] = (...about) => (this.receiver ? this.receiver[name](...about) : waiting.push([name, about]));
    }
    core.receiver.use(part => {
      if (this._isEnded) return;
      if (!part) return this._giveUp(new Error('backwire.live.js could not be loaded'));
      this.receiver = new part.Receiver(this, queries);
      for (const [name, about] of waiting) this.receiver[name](...about);
    });
  }

  status(state, unsent) {
    const isBack = state === 'online' && this.state !== state;
    this.state = state;
    this.outbox.setOnline(state === 'online');
    if (isBack) this.receiver?.rejoin();
    if (state === 'offline') this.explain('findReason', this.page, this.server.socket, reason => this.client.refuse(reason));
    this.tell('status', {state, unsent});
  }

  // What the page does with us
  // --------------------------

  // No longer live, also if a read of it is still on its way.
  stop(target) {
    for (const exchange of this.outbox.of(target)) exchange.isStopped = true;
    this.live?.stop(target);
  }

  // Signs the page's person in, or as somebody else; writes that waited for it go on.
  authenticate(token) {
    if (this._person) this._person.token = token;
    this.client.authenticate(this._auth());
  }

  _auth() {
    return this._person ? JSON.stringify(this._person) : undefined;
  }

  // Leaves Backbone as it was. Unanswered requests are aborted. Kept writes stay kept, for the next
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

  // From now on the page's own XMLHttpRequests send its requests, also those that waited for a part of ours.
  _stepAside() {
    this.unwrapSync();
    this.outbox.ask = exchange => this.divert(exchange);
  }

  // Calls of the page
  // -----------------

  // A call of `sync` begins. Returns what makes its XMLHttpRequest.
  begin(call) {
    const {method, model, options, isRealtime} = call;
    call.kind = kindOf(method, model, options);
    if (method === 'read' && isPlain(options.data?.where)) options.data = {...options.data, where: JSON.stringify(options.data.where)};
    // While nothing can be answered soon, a page shows no sign of loading.
    if (isRealtime && this.state === 'offline') options.global ??= false;
    if (isRealtime && method !== 'delete') this._watch(call);
    return () => new Transport(new (this.page.XMLHttpRequest ?? EventTarget)(), this, call).xhr;
  }

  // Backbone sets an answer itself, in this callback; that has to be seen.
  _watch(call) {
    const {receiver, options: {success}} = call;
    const run = (context, args) => [success].flat(Infinity).forEach(callback => callback?.apply(context, args));
    const runtime = this;
    call.options.success = function(...args) {
      if (runtime.receiver) runtime.receiver.setAnswer(call, () => run(this, args));
      else run(this, args);
    };
  }

  // Sends a request of the page by the socket, or returns false.
  send(transport, sent) {
    const {kind, made, model, options, isRealtime} = transport.call;
    const path = isRealtime ? this.pathOf(transport.url) : null;
    if (path === null || this._httpPaths.has(plainPath(path))) return false;
    const request = requestOf(transport, path, sent, made);
    if (request) this.outbox.ask(new Exchange({...request, transport, sent, kind, made, model, options}));
    return Boolean(request);
  }

  // The page's own XMLHttpRequest sends it. If it writes to something live, its echo is the page's own.
  prepare({call: {model}, xhr, url, headers, method, isAsync}) {
    const path = this.pathOf(url);
    if (!isAsync || path === null || /^(GET|HEAD|OPTIONS)$/.test(method) || !this.live?.follows(path)) return;
    const exchange = new Exchange({kind: OPAQUE, method: method.toLowerCase(), url: path, headers: {...headers}, model, isElsewhere: true});
    this.outbox.expect(exchange);
    if (!headers['idempotency-key']) xhr.setRequestHeader('Idempotency-Key', exchange.key);
    xhr.addEventListener('loadend', () => {
      if (!xhr.status) return exchange.whenAborted();
      // `responseText` throws where the page wants a Blob, for example.
      this.client.answeredOverHttp(exchange.token, xhr.status, parsed(xhr.response), headersOf(xhr));
    });
  }

  // The page's XMLHttpRequest sends this request, and those that were merged into it or wait for it.
  divert({transport, sent, url, merged, pending}) {
    if (!transport?.isPending) return false;
    if (this._httpPaths.size < MAX_HTTP_PATHS) this._httpPaths.add(plainPath(url));
    for (const other of merged) this.divert(other);
    transport.sendReal(sent);
    for (const other of pending?.end() ?? []) this.divert(other);
    return true;
  }

  // Ajax where the page has none. A page without jQuery has loaded the extras before; else they come in a moment.
  ajax(settings) {
    let result, resolve;
    this.extras.use(extras => {
      result = extras ? extras.ajax(settings) : settings.error?.({status: 0});
      resolve?.(result);
    });
    return result ?? new Promise(it => { resolve = it; });
  }

  // An ajax function of the page does not use `settings.xhr`, and reads this over HTTP: it is read once more, to be live.
  adopt({method, model}, {url, data}) {
    this.explain('ownAjax');
    const path = method === 'read' ? this.pathOf(url) : null;
    if (path !== null) this.readAgain(model, path, data);
  }

  pathOf(url) {
    return pathOf(url, this._base, this.server.origin);
  }

  // What is live, once the receiver is there.
  get live() {
    return this.receiver?.live;
  }

  // What is sent to a person is sent to each tab, also when it is loaded again.
  _device() {
    let id = this.outbox.session;
    try {
      id = this.page.sessionStorage['backwire.device'] ??= id;
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
    if (this.server.origin === new URL(this._base).origin && this.Backbone.$?.ajax) this.unwrapSync();
    this.client = NO_CLIENT;
    this.goOn();
    this.status('offline', 0);
  }

  // The page is as it was without us: its requests are sent as they were made.
  _giveUp(error) {
    this.error = error;
    console.error('Backwire could not start:', error);
    this._stepAside();
    this.client.disconnect();
    // A write that is sent here must not be kept: the next page would send it again, with another key.
    for (const exchange of this.outbox.all) if (this.divert(exchange)) this.outbox.over(exchange);
    this.status('offline', 0);
  }

  // A page that is left may come back from the browser's cache; if it does not, what is on its way is kept for the next one.
  _listenToPage() {
    const online = () => this.client.online();
    const offline = () => this.client.offline();
    const listeners = {
      online, offline, pageshow: online, pagehide: offline,
      error: ({error}) => { if (this.isTrap(error) && !this.client.isWell()) this.fail(error); },
      securitypolicyviolation: ({blockedURI}) => { if (this.server.socket.startsWith(blockedURI)) this.explain('blockedByPolicy'); }
    };
    const each = how => {
      for (const type in listeners) (type[0] === 's' ? this.page.document : this.page)?.[how]?.(type, listeners[type]);
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
