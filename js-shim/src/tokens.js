// Tokens from a function
// ----------------------
//
// A page may give a function instead of a token, because tokens expire. It is called before each
// connection is joined, and may return a promise. A token that the server refuses although it is
// new is not replaced by another one, so that the page does not connect again and again.

// A token of this age may have expired since the page has returned it, in milliseconds.
const OLD = 10000;

export class Tokens {
  constructor(runtime) {
    this._runtime = runtime;
    this._asked = 0;
  }

  // Passes the page's token to the core.
  ask() {
    // After a refusal the token is there already.
    const {_next: next} = this;
    this._isReplacement = next != null;
    this._next = null;
    this._pass(next ?? this._call());
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
      console.error('Backwire: the token function of the page failed. It is called again later:', error);
      this._runtime.client.reconnect();
    }
  }

  // The page may return the token or a promise, or throw. `reason` is why the server has refused
  // the last one.
  async _call(reason) {
    return this._runtime.person.token(reason);
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
    const token = this._isReplacement ? this._token : await this._call(reason).catch(() => this._token);
    if (token === this._token) return report();
    this._next = token;
    this._runtime.client.connect();
  }
}
