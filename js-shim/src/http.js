// Requests over HTTP
// ------------------
//
// Used while there is no socket. Each write carries its idempotency key, so the server answers a
// repeated write from its ledger and does not execute it again.

import {NEW, SENT_BY_PAGE} from './outbox.js';
import {parseJson} from './request.js';
import {IDEMPOTENCY_KEY} from './wire.js';

// The pause before a request that did not reach the server is repeated, and the timeout of an
// answer, in milliseconds.
const RETRY_AFTER = 3000;
const ANSWER_TIMEOUT = 20000;

// Sends a request by the page's `fetch`. The result has the form of an answer of the core:
// `{status, body, headers}`, with status 0 if the server could not be reached.
export async function sendOverHttp(page, origin, {method, url, headers, body, key}) {
  const named = {accept: 'application/json', ...headers};
  if (body !== undefined) named['content-type'] = 'application/json';
  if (method !== 'get') named[IDEMPOTENCY_KEY] = key;
  try {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT);
    const response = await page.fetch(origin + url, {method: method.toUpperCase(), headers: named, body, signal, credentials: 'same-origin'});
    return {status: response.status, body: parseJson(await response.text()), headers: Object.fromEntries(response.headers)};
  } catch {
    return {status: 0};
  }
}

// Sends all pending requests over HTTP after the core has failed.
export function continueOverHttp(receiver) {
  const {runtime, outbox} = receiver;
  const client = runtime.client = new HttpClient(runtime.page, runtime.server.origin, receiver);
  for (const {token, method, url, headers, body, key, isSentByPage} of outbox.all) {
    client.request(token, method, url, JSON.stringify(headers), body, key, isSentByPage ? SENT_BY_PAGE : NEW);
  }
}

// Replaces a core that has failed. It has the core's interface, so callers need no changes.
class HttpClient {
  constructor(page, origin, receiver) {
    Object.assign(this, {_page: page, _origin: origin, _receiver: receiver});
    // Tokens of aborted requests.
    this._aborted = new Set();
    this._last = Promise.resolve();
  }

  // Sends the requests one at a time, in the order of the calls. The page sends those of kind
  // `SENT_BY_PAGE`.
  // Writes of a page with a token wait for the next load of the page: HTTP has no token.
  request(token, method, url, headers, body, key, kind) {
    if (kind === SENT_BY_PAGE || method !== 'get' && this._receiver.runtime.isAsked) return;
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

  // The failed core may have sent the request already.
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
  wake() {}
  park() {}
  reconnect() {}
  free() {}
}
