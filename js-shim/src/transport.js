// An XMLHttpRequest over the socket
// ---------------------------------
//
// The page's ajax layer gets one of these where it would make an XMLHttpRequest (jQuery 1.5 to 4 call
// `options.xhr` for it) and uses it as it uses a real one: prefilters, headers, converters, events
// and the promise are the ajax layer's own. What the socket cannot do, a real XMLHttpRequest does.

import {attempt} from './attempt.js';

// `send(transport, body)` takes the request over and is true, or is false if a real XMLHttpRequest has to
// carry it; `makeReal()` makes that one, and `prepare(transport, real)` may add to it before it is sent.
export class Transport {
  constructor({send, makeReal, prepare}) {
    Object.assign(this, {_send: send, _makeReal: makeReal, _prepare: prepare});
    Object.assign(this, {readyState: 0, status: 0, statusText: '', responseText: '', response: '', responseType: ''});
    Object.assign(this, {timeout: 0, withCredentials: false, responseURL: '', upload: {addEventListener() {}}});
    // Of the request: headers by their names in lower case.
    this.headers = {};
    // Called once if the page aborts before the answer.
    this.whenAborted = () => {};
    this._listeners = {};
    this._replyHeaders = null;
  }

  // The request
  // -----------

  open(method, url, isAsync = true, ...credentials) {
    Object.assign(this, {method: method.toUpperCase(), url: String(url), isAsync, credentials});
    this.readyState = 1;
    this._fire('readystatechange');
  }

  setRequestHeader(name, value) {
    const known = this.headers[name.toLowerCase()];
    this.headers[name.toLowerCase()] = known === undefined ? String(value) : `${known}, ${value}`;
  }

  overrideMimeType(type) {
    this._mimeType = type;
  }

  // Nothing is called before this returns, but for a blocking request.
  send(body = null) {
    this.isSent = true;
    if (!this._send(this, body)) this.sendReal(body);
  }

  abort() {
    const isPending = this.isSent && this.readyState < 4;
    this.isSent = false;
    if (this._real) return this._real.abort();
    if (!isPending) return;
    this.whenAborted();
    this._end('abort');
    this.readyState = 0;
  }

  // The answer
  // ----------

  // Status 0: there is none, for this reason (`error` or `timeout`).
  respond(status, text, headers, reason = 'error') {
    if (!this.isSent || this.readyState === 4) return;
    if (!status) return this._end(reason);
    Object.assign(this, {status, statusText: STATUS_TEXTS[status] ?? '', responseText: text, responseURL: this.url});
    this.response = this.responseType === 'json' ? parsed(text) : text;
    this._replyHeaders = headers;
    this._end('load');
  }

  getResponseHeader(name) {
    if (this._real) return this._real.getResponseHeader(name);
    return this._replyHeaders?.[name.toLowerCase()] ?? null;
  }

  getAllResponseHeaders() {
    if (this._real) return this._real.getAllResponseHeaders();
    return Object.entries(this._replyHeaders ?? {}).map(pair => pair.join(': ') + '\r\n').join('');
  }

  addEventListener(type, listener) {
    (this._listeners[type] ??= []).push(listener);
  }

  removeEventListener(type, listener) {
    this._listeners[type] = (this._listeners[type] ?? []).filter(it => it !== listener);
  }

  // A real XMLHttpRequest
  // ---------------------

  // Sends the same request by a real one, and shows what that shows.
  sendReal(body) {
    const real = this._real = this._makeReal();
    real.open(this.method, this.url, this.isAsync, ...this.credentials);
    for (const name in this.headers) real.setRequestHeader(name, this.headers[name]);
    if (this._mimeType) real.overrideMimeType(this._mimeType);
    // A blocking request may not name these.
    if (this.isAsync) Object.assign(real, {responseType: this.responseType, timeout: this.timeout});
    real.withCredentials = this.withCredentials;
    this._prepare(this, real);
    for (const type of ['load', 'error', 'abort', 'timeout']) {
      real[`on${type}`] = () => {
        this._mirror(real);
        this._end(type);
      };
    }
    real.send(body);
  }

  _mirror(real) {
    for (const name of ['status', 'statusText', 'response', 'responseURL', 'responseXML']) this[name] = real[name];
    if (/^(text)?$/.test(this.responseType)) this.responseText = real.responseText;
  }

  _end(type) {
    this.readyState = 4;
    for (const name of ['readystatechange', type, 'loadend']) this._fire(name);
  }

  _fire(type) {
    const event = {type, target: this, currentTarget: this};
    for (const listener of [this[`on${type}`], ...this._listeners[type] ?? []]) {
      if (listener) attempt(() => listener.call(this, event));
    }
  }
}

// As HTTP/1.1 servers name them.
const STATUS_TEXTS = {
  200: 'OK', 201: 'Created', 202: 'Accepted', 204: 'No Content', 304: 'Not Modified', 400: 'Bad Request',
  401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found', 405: 'Method Not Allowed', 409: 'Conflict', 410: 'Gone',
  413: 'Payload Too Large', 415: 'Unsupported Media Type', 422: 'Unprocessable Entity', 429: 'Too Many Requests',
  500: 'Internal Server Error', 502: 'Bad Gateway', 503: 'Service Unavailable', 504: 'Gateway Timeout'
};

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
