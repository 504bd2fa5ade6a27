// Requests without the core
// -------------------------
//
// If the core has failed, what it was asked and has not answered is asked again over HTTP, each write
// with the key the core gave it: one that was done already is answered from the server's ledger and
// not done again. It has the core's face, so nobody who waits for an answer has to know.

// How long a request waits that could not reach the server.
const RETRY_AFTER = 3000;

export class HttpClient {
  // `fetch` is the page's; `session` is what the core's keys started with, `finish` hears of answers.
  constructor(origin, session, fetch, finish) {
    Object.assign(this, {_origin: origin, _session: session, _fetch: fetch, _finish: finish});
    this._made = 0;
    // Tokens nobody waits for any more.
    this._aborted = new Set();
    this._last = Promise.resolve();
  }

  request(method, url, body, timeout, key) {
    const token = this._made + 1;
    return this.resend(token, key || `${this._session}-${token}`, method, url, body);
  }

  // Asks what the core was asked under `token`. One after the other, in the order of the calls.
  resend(token, key, method, url, body) {
    this._made = Math.max(this._made, token);
    this._last = this._last.then(() => this._ask(token, key, method, url, body));
    return token;
  }

  async _ask(token, key, method, url, body) {
    const headers = {'content-type': 'application/json'};
    if (method !== 'get') headers['idempotency-key'] = key;
    const settings = {method: method.toUpperCase(), headers, body, credentials: 'same-origin'};
    let response = null;
    while (!response && !this._aborted.has(token)) {
      response = await this._fetch(this._origin + url, settings).catch(() => later());
    }
    if (!response || this._aborted.delete(token)) return;
    const text = await response.text();
    this._finish(token, response.status, parsed(text), Object.fromEntries(response.headers));
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

  delivered() {}
  unsubscribe() {}
  connect() {}
  disconnect() {}
  online() {}
  offline() {}
  free() {}
}

const later = () => new Promise(resolve => { setTimeout(resolve, RETRY_AFTER); });

function parsed(text) {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return text;
  }
}
