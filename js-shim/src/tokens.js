// Tokens from a function
// ----------------------
//
// A page may give a function instead of a token, because tokens expire. It is called before each
// connection is joined, and may return a promise. A token that the server refuses although it is
// new is not replaced by another one, so that the page does not connect again and again. If the
// server knows when the token expires, the function is called a little earlier.

// A token of this age may have expired since the page has returned it, in milliseconds.
const OLD = 10000;
// How long before it expires a token is replaced, in milliseconds. Of a shorter time it is half.
const MARGIN = 30000;
// The longest time of a timer.
const MAX_DELAY = 2 ** 31 - 1;

export class Tokens {
  constructor(runtime) {
    this._runtime = runtime;
    this._asked = 0;
  }

  // Passes the page's token to the core.
  ask() {
    clearTimeout(this._timer);
    // After a refusal, or before the former one has expired, the token is there already.
    const {_next: next, _renewed: renewed} = this;
    this._isReplacement = next != null;
    this._next = this._renewed = null;
    this._pass(next ?? renewed ?? this._call());
  }

  async _pass(promise) {
    const number = this._asked += 1;
    const isCurrent = () => number === this._asked;
    const {person} = this._runtime;
    try {
      const token = await promise;
      if (!isCurrent()) return;
      Object.assign(this, {_token: token, _at: Date.now()});
      this._runtime.client.authenticate(JSON.stringify({...person, token}));
    } catch (error) {
      if (!isCurrent()) return;
      logFailure(error);
      this._runtime.client.reconnect();
    }
  }

  // The page may return the token or a promise, or throw. `reason` is why the server has refused
  // the last one.
  async _call(reason) {
    return this._runtime.person.token(reason);
  }

  // The token of this connection expires in so many seconds.
  expires(seconds) {
    clearTimeout(this._timer);
    const {client} = this._runtime;
    const delay = Math.max(seconds * 500, seconds * 1000 - MARGIN);
    this._timer = setTimeout(() => this._runtime.client === client && this._renew(), Math.min(delay, MAX_DELAY));
  }

  // Connects again with another token. A page whose token is a text has to give one.
  async _renew() {
    const {client, person} = this._runtime;
    const asked = this._asked;
    this._runtime.notify('expires');
    if (typeof person?.token !== 'function') return;
    try {
      const token = await this._call();
      // If the connection was lost meanwhile, the next one asks by itself.
      const isCurrent = this._runtime.client === client && this._runtime.isWanted && this._asked === asked;
      if (!isCurrent || token === this._token) return;
      this._renewed = token;
      client.reconnect();
      client.connect();
    } catch (error) {
      logFailure(error);
    }
  }

  // A waiting write was answered with 401. The next connection asks for another token.
  wasRefused() {
    if (Date.now() - this._at < OLD) return;
    this._runtime.client.reconnect();
    this._runtime.client.connect();
  }

  // The server refuses the connection because of the token. Connects once more if the page has
  // another token, and calls `report` if not.
  async replace(reason, report) {
    const token = this._isReplacement ? this._token : await this._call(reason).catch(error => {
      logFailure(error);
      return this._token;
    });
    if (token === this._token) return report();
    this._next = token;
    this._runtime.client.connect();
  }
}

function logFailure(error) {
  console.error('Backwire: the token function of the page failed. It is called again later:', error);
}
