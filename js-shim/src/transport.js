// An XMLHttpRequest over the socket
// ---------------------------------
//
// The page's ajax layer gets a `Transport`'s XMLHttpRequest where it would make one (jQuery 1.5 to
// 4 call `options.xhr` for it). Prefilters, headers, converters, events and the promise stay the
// ajax layer's own. It is a real XMLHttpRequest that opens nothing before `send`. Then it sends the
// request itself if the socket cannot carry it.

import {statusTextOf} from './status-texts.js';

// `runtime.send(transport)` returns true if it takes the request over. Otherwise the XMLHttpRequest
// sends it, and `runtime.prepare(transport)` may add headers.
export class Transport {
  // The arguments of `open` and `send`.
  method;
  url;
  isAsync;
  credentials = [];
  sentBody;

  // The headers of the request, by their names in lower case.
  headers = {};

  // Whether the request was sent and has no answer yet.
  isPending;

  // The headers of the answer.
  replyHeaders;

  // Called once if the page aborts before the answer.
  whenAborted = () => {};

  // `xhr` is the XMLHttpRequest of the page, and `call` the `Call` that it belongs to.
  constructor(xhr, runtime, call) {
    Object.assign(this, {xhr, call, _runtime: runtime});
    for (const name in METHODS) xhr[name] = (...args) => METHODS[name].apply(this, args);
    this.show({readyState: 0});
  }

  // Sends the request by the XMLHttpRequest itself.
  sendReal() {
    const {xhr, method, url, isAsync, credentials, headers} = this;
    for (const name in {...METHODS, readyState: 0}) delete xhr[name];
    xhr.open(method, url, isAsync, ...credentials);
    for (const name in headers) xhr.setRequestHeader(name, headers[name]);
    if (this._mimeType) xhr.overrideMimeType(this._mimeType);
    this._runtime.prepare(this);
    xhr.send(this.sentBody);
  }

  // Ends the request with `load`, `error` or `abort`.
  end(type) {
    this.isPending = false;
    this.show({readyState: 4});
    for (const name of ['readystatechange', type, 'loadend']) this.xhr.dispatchEvent(new Event(name));
  }

  showAnswer(values) {
    this.show({...values, statusText: statusTextOf(values.status)});
  }

  show(values) {
    for (const name in values) Object.defineProperty(this.xhr, name, {value: values[name], configurable: true});
  }
}

// The methods of the XMLHttpRequest until it is opened. `this` is the transport.
const METHODS = {
  open(method, url, isAsync = true, ...credentials) {
    Object.assign(this, {method: method.toUpperCase(), url: String(url), isAsync, credentials});
    this.show({readyState: 1});
  },

  setRequestHeader(name, value) {
    const known = this.headers[name.toLowerCase()];
    this.headers[name.toLowerCase()] = known === undefined ? String(value) : `${known}, ${value}`;
  },

  overrideMimeType(type) {
    this._mimeType = type;
  },

  // No event fires before this returns, except for a blocking request.
  send(body = null) {
    this.sentBody = body;
    this.isPending = true;
    if (!this._runtime.send(this)) this.sendReal();
  },

  abort() {
    if (!this.isPending) return;
    this.whenAborted();
    this.end('abort');
    this.show({readyState: 0});
  },

  getResponseHeader(name) {
    return this.replyHeaders?.[name.toLowerCase()] ?? null;
  },

  getAllResponseHeaders() {
    return Object.entries(this.replyHeaders ?? {}).map(pair => pair.join(': ') + '\r\n').join('');
  }
};
