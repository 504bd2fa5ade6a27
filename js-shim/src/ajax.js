// Ajax for pages without jQuery
// -----------------------------
//
// `Backbone.ajax` for pages with neither jQuery nor an ajax function of their own. The result
// behaves like jQuery's jqXHR: `success` and `error` run first, then the callbacks of `done`,
// `fail` and `always`, then the `statusCode` map, then `complete`. Each runs at most once, and
// `success` never after `abort`.

import {attempt} from './attempt.js';
import {withQuery} from './param.js';
import {isSuccess} from './request.js';

// `settings` are jQuery's; `settings.xhr` makes the XMLHttpRequest.
export function ajax(settings) {
  const jqXhr = new JqXhr(settings);
  jqXhr.begin();
  return jqXhr;
}

class JqXhr {
  constructor(settings) {
    this.readyState = 0;
    this._headers = {};
    this._settings = settings;
    this._context = settings.context || settings;
    this._state = 'pending';
    this._outcome = [];
    this._handlers = [];
    this._statusCode = {...settings.statusCode};
  }

  // Sending and finishing
  // ---------------------

  // If `beforeSend` returns false, nothing is sent and no callback runs, as in jQuery.
  begin() {
    const {beforeSend, success, error, contentType, data, headers, timeout} = this._settings;
    this.setRequestHeader('Accept', 'application/json, text/javascript, */*; q=0.01');
    if (data != null && contentType !== false) this.setRequestHeader('Content-Type', contentType || FORM);
    for (const name in headers) this.setRequestHeader(name, headers[name]);
    if (beforeSend && beforeSend.call(this._context, this, this._settings) === false) this.abort();
    if (this._state !== 'pending') return;
    this.readyState = 1;
    this.done(success).fail(error);
    this._send();
    if (timeout > 0 && this._state === 'pending') this._timer = setTimeout(() => this.abort('timeout'), timeout);
  }

  _send() {
    const {type, method = type || 'GET', url, data, traditional, async = true} = this._settings;
    const hasBody = !/^(GET|HEAD)$/i.test(method);
    const transport = this._transport = this._settings.xhr();
    transport.open(method, hasBody ? url : withQuery(url.replace(/#.*/, ''), data, traditional), async);
    for (const name in this._headers) transport.setRequestHeader(name, this._headers[name]);
    transport.addEventListener('load', () => this._finish(transport));
    for (const reason of ['error', 'abort']) transport.addEventListener(reason, () => this._fail(reason));
    transport.send(hasBody ? bodyOf(data) : null);
  }

  _finish(transport) {
    if (this._state !== 'pending') return;
    const {status, statusText} = transport;
    Object.assign(this, {status, readyState: 4, responseText: transport.responseText});
    const isEmpty = status === 204 || this.responseText === '';
    const {value, error} = isEmpty ? {} : parsed(this.responseText);
    if (value !== undefined) this.responseJSON = value;
    if (!isSuccess(status)) return this._settle('rejected', 'error', statusText);
    if (error) return this._settle('rejected', 'parsererror', error);
    this._settle('resolved', status === 204 ? 'nocontent' : 'success', statusText);
  }

  _fail(reason) {
    if (this._state !== 'pending') return;
    Object.assign(this, {status: 0, readyState: 0});
    this._settle('rejected', reason, reason === 'error' ? '' : reason);
  }

  abort(reason = this.readyState ? 'abort' : 'canceled') {
    if (this._state !== 'pending') return this;
    const transport = this._transport;
    this._fail(reason);
    transport?.abort();
    return this;
  }

  // The reply
  // ---------

  getResponseHeader(name) {
    return this.status ? this._transport.getResponseHeader(name) : null;
  }

  getAllResponseHeaders() {
    return this.status ? this._transport.getAllResponseHeaders() : null;
  }

  setRequestHeader(name, value) {
    if (this._state === 'pending') this._headers[name] = value;
    return this;
  }

  overrideMimeType() {
    return this;
  }

  // Deferred methods
  // ----------------

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

  // Promise methods
  // ---------------

  // The promise is made at the first call. So an error that a callback has handled is not also
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

  _settle(state, textStatus, statusText) {
    clearTimeout(this._timer);
    this._state = state;
    this.statusText = this.status ? statusText || textStatus : textStatus;
    if (textStatus === 'parsererror') this.statusText = textStatus;
    this._outcome = state === 'resolved' ? [this.responseJSON, textStatus, this] : [this, textStatus, statusText];
    this._fire();
    // A request that `beforeSend` has refused was never sent, so no other callback runs.
    if (textStatus === 'canceled') return;
    this.always(this._statusCode[this.status]);
    for (const complete of listOf(this._settings.complete)) {
      attempt(() => complete.call(this._context, this, textStatus));
    }
  }

  // Callbacks run if the request ends in `state`; `null` means in either state.
  _add(state, callbacks) {
    for (const callback of listOf(callbacks)) this._handlers.push({state, callback});
    if (this._state !== 'pending' && !this._isFiring) this._fire();
    return this;
  }

  // A callback may add another one, which runs last.
  _fire() {
    this._isFiring = true;
    while (this._handlers.length) {
      const {state, callback} = this._handlers.shift();
      if (state && state !== this._state) continue;
      attempt(() => callback.apply(this._context, this._outcome));
    }
    this._isFiring = false;
  }
}

const FORM = 'application/x-www-form-urlencoded; charset=UTF-8';

// Objects are sent as a form, as jQuery does it. Texts, forms and files are sent unchanged.
function bodyOf(data) {
  const isObject = /^\[object (Object|Array)\]$/.test(Object.prototype.toString.call(data));
  return isObject ? withQuery('', data).slice(1) : data ?? null;
}

function parsed(text) {
  try {
    return {value: JSON.parse(text)};
  } catch (error) {
    return {error};
  }
}

function listOf(callbacks) {
  return [callbacks].flat(Infinity).filter(callback => typeof callback === 'function');
}
