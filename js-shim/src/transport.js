// An XMLHttpRequest over the socket
// ---------------------------------
//
// The page's ajax layer gets one of these where it would make an XMLHttpRequest (jQuery 1.5 to 4 call
// `options.xhr` for it) and uses it as it uses any: prefilters, headers, converters, events and the promise
// are the ajax layer's own. It is a real XMLHttpRequest that does not open anything before it is sent;
// what the socket cannot do, it then does as ever.

// `runtime.send(transport, body)` takes a request over and is true, or is false if the XMLHttpRequest is to send it;
// then `runtime.prepare(transport)` may add to it. The request is in `method`, `url`, `isAsync`, `credentials` and
// `headers`, by their names in lower case; `call` is the call of `sync` that it belongs to.
export class Transport {
  constructor(xhr, runtime, call) {
    Object.assign(this, {xhr, call, headers: {}, credentials: [], _runtime: runtime});
    // Called once if the page aborts before the answer.
    this.whenAborted = () => {};
    this._methods = Object.keys(METHODS);
    for (const name of this._methods) xhr[name] = (...args) => METHODS[name].apply(this, args);
    this.show({readyState: 0});
  }

  // The XMLHttpRequest sends the same request.
  sendReal(body) {
    const {xhr, method, url, isAsync, credentials, headers} = this;
    for (const name of [...this._methods, 'readyState']) delete xhr[name];
    xhr.open(method, url, isAsync, ...credentials);
    for (const name in headers) xhr.setRequestHeader(name, headers[name]);
    if (this._mimeType) xhr.overrideMimeType(this._mimeType);
    this._runtime.prepare(this);
    xhr.send(body);
  }

  // It is over: with `load`, `error` or `abort`.
  end(type) {
    this.isPending = false;
    this.show({readyState: 4});
    for (const name of ['readystatechange', type, 'loadend']) this.xhr.dispatchEvent(new Event(name));
  }

  show(values) {
    for (const name in values) Object.defineProperty(this.xhr, name, {value: values[name], configurable: true});
  }
}

// What they do on a request that is not open, by the transport they are called for.
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

  // No event is fired before this returns, but for a blocking request.
  send(body = null) {
    this.isPending = true;
    if (!this._runtime.send(this, body)) this.sendReal(body);
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
