// What `fetch`, `save` and `destroy` return
// -----------------------------------------
//
// An object with the shape and the manners of jQuery's jqXHR, with or without jQuery on the page:
// `success` and `error` first, then what was added with `done`, `fail` and `always`, then the
// `statusCode` map, then `complete`; each once at most, and never `success` after `abort`.

import {attempt} from './attempt.js';

export class Xhr {
  constructor(settings) {
    this.readyState = 0;
    // Headers of the request, in lower case. They do not travel; `emulateHTTP` names its verb here.
    this.requestHeaders = {};
    // What is to be stopped by `abort`, told by whoever has sent the request.
    this.whenAborted = () => {};
    this._settings = settings;
    this._context = settings.context || settings;
    this._state = 'pending';
    this._outcome = [];
    this._callbacks = [];
    this._statusCode = {...settings.statusCode};
    for (const name in settings.headers) this.setRequestHeader(name, settings.headers[name]);
  }

  // Sending and finishing
  // ---------------------

  // Asks `beforeSend`. If it refuses nothing is sent and, as in jQuery, nobody is called.
  begin() {
    const {beforeSend, success, error} = this._settings;
    if (beforeSend && beforeSend.call(this._context, this, this._settings) === false) this.abort();
    if (this._state !== 'pending') return false;
    this.readyState = 1;
    this.done(success).fail(error);
    this._isSent = true;
    return true;
  }

  // The one answer. Status 0 means that the request failed on this side; the body says how.
  finish(status, body, headers = {}) {
    if (this._state !== 'pending') return;
    this.status = status;
    this.readyState = status ? 4 : 0;
    this._headers = status ? headers : null;
    if (status) this.responseJSON = body === null || body === '' || status === 204 ? undefined : body;
    if (isSuccess(status)) {
      this._settle('resolved', status === 204 ? 'nocontent' : 'success');
    } else {
      const reason = body === 'timeout' || body === 'abort' || body === 'canceled' ? body : 'error';
      this._settle('rejected', reason, status ? (body && body.message) || '' : String(body));
    }
  }

  abort(reason = this._isSent ? 'abort' : 'canceled') {
    if (this._state !== 'pending') return this;
    this.whenAborted();
    this.finish(0, reason);
    return this;
  }

  // The reply
  // ---------

  get responseText() {
    if (!this.status) return undefined;
    const body = this.responseJSON;
    return body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body);
  }

  getResponseHeader(name) {
    return this._headers?.[name.toLowerCase()] ?? null;
  }

  getAllResponseHeaders() {
    return this._headers ? Object.entries(this._headers).map(pair => pair.join(': ') + '\r\n').join('') : null;
  }

  setRequestHeader(name, value) {
    this.requestHeaders[name.toLowerCase()] = value;
    return this;
  }

  overrideMimeType() {
    return this;
  }

  // As a deferred
  // -------------

  state() {
    return this._state;
  }

  done(...callbacks) {
    return this._add('resolved', callbacks);
  }

  fail(...callbacks) {
    return this._add('rejected', callbacks);
  }

  always(...callbacks) {
    return this._add(null, callbacks);
  }

  progress() {
    return this;
  }

  promise() {
    return this;
  }

  statusCode(map) {
    if (this._state !== 'pending') return this.always(map[this.status]);
    for (const code in map) this._statusCode[code] = [this._statusCode[code], map[code]];
    return this;
  }

  // As a promise
  // ------------

  // Made when it is first asked for, so that an error which a callback has dealt with is not also
  // reported as an unhandled rejection. Callbacks get all of jQuery's arguments.
  then(fulfilled, rejected) {
    return new Promise((resolve, reject) => {
      this.done((...outcome) => resolve(outcome)).fail((...outcome) => reject(outcome));
    }).then(
      outcome => (fulfilled ? fulfilled(...outcome) : outcome[0]),
      outcome => {
        if (rejected) return rejected(...outcome);
        throw outcome[0];
      }
    );
  }

  catch(rejected) {
    return this.then(null, rejected);
  }

  // Private parts
  // -------------

  _settle(state, textStatus, errorThrown) {
    this._state = state;
    this.statusText = textStatus;
    this._outcome = state === 'resolved' ? [this.responseJSON, textStatus, this] : [this, textStatus, errorThrown];
    this._fire();
    if (!this._isSent) return;
    this.always(this._statusCode[this.status]);
    for (const complete of listOf(this._settings.complete)) {
      attempt(() => complete.call(this._context, this, textStatus));
    }
  }

  // `state` is the one the callbacks wait for, `null` is either.
  _add(state, callbacks) {
    for (const callback of listOf(callbacks)) this._callbacks.push({state, callback});
    if (this._state !== 'pending' && !this._isFiring) this._fire();
    return this;
  }

  // A callback may add another one: it takes its place at the end.
  _fire() {
    this._isFiring = true;
    while (this._callbacks.length) {
      const {state, callback} = this._callbacks.shift();
      if (state && state !== this._state) continue;
      attempt(() => callback.apply(this._context, this._outcome));
    }
    this._isFiring = false;
  }
}

export function isSuccess(status) {
  return status >= 200 && status < 300 || status === 304;
}

function listOf(callbacks) {
  return [callbacks].flat(Infinity).filter(callback => typeof callback === 'function');
}
