// Requests over HTTP
// ------------------
//
// For when there is no socket: each write carries its idempotency key, so that one which was done already is answered
// from the server's ledger and not done again.

import {parsed} from './request.js';

// How long a request waits that could not reach the server, and how long for an answer.
const RETRY_AFTER = 3000;
const ANSWER_TIMEOUT = 20000;

// Sends a request to a server by the page's `fetch`. The result is what the core would hand over: `{status, body,
// headers}`, with status 0 if the server could not be reached.
export async function sendOverHttp(page, origin, {method, url, headers, body, key}) {
  const named = {accept: 'application/json', ...headers};
  if (body !== undefined) named['content-type'] = 'application/json';
  if (method !== 'get') named['idempotency-key'] = key;
  try {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT);
    const response = await page.fetch(origin + url, {method: method.toUpperCase(), headers: named, body, signal, credentials: 'same-origin'});
    return {status: response.status, body: parsed(await response.text()), headers: Object.fromEntries(response.headers)};
  } catch {
    return {status: 0};
  }
}

// Takes the place of a core that has failed. It has the core's face, so that nobody who waits for an answer has to know.
export class HttpClient {
  constructor(page, origin, receiver) {
    Object.assign(this, {_page: page, _origin: origin, _receiver: receiver});
    // Tokens nobody waits for any more.
    this._aborted = new Set();
    this._last = Promise.resolve();
  }

  // One after the other, in the order of the calls. What the page sends itself is not sent here.
  request(token, method, url, headers, body, key, kind) {
    if (kind === 2) return;
    const request = {method, url, headers: JSON.parse(headers || '{}'), body, key: key || `${this._receiver.outbox.session}-${token}`};
    this._last = this._last.then(() => this._ask(token, request));
  }

  async _ask(token, request) {
    let answer;
    while (!answer?.status && !this._aborted.has(token)) {
      if (answer) await new Promise(resolve => { setTimeout(resolve, RETRY_AFTER); });
      answer = await sendOverHttp(this._page, this._origin, request);
    }
    if (!this._aborted.delete(token)) this.answeredOverHttp(token, answer.status, answer.body, answer.headers);
  }

  answeredOverHttp(...answer) {
    this._receiver.finish(...answer);
  }

  abort(token) {
    this._aborted.add(token);
  }

  // It may have left before this client was there.
  withdraw() {
    return false;
  }

  isWell() {
    return true;
  }

  authenticate() {}
  delivered() {}
  unsubscribe() {}
  refuse() {}
  connect() {}
  disconnect() {}
  online() {}
  offline() {}
  free() {}
}
