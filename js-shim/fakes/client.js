// A core that does nothing by itself
// ----------------------------------
//
// It has the face of the wasm client, keeps what it is asked and lets a test answer and push, in any
// order. Frames, connections and echoes are the core's business and tested there.

const EPOCH = 7;

export class FakeClient {
  constructor(url, session, seed, listener) {
    Object.assign(this, {url, session, seed, listener});
    // Everything asked, oldest first, and what has been done to the client besides.
    this.requests = [];
    this.calls = [];
    // Nothing leaves while this is false.
    this.isOnline = true;
  }

  // A panic: this call, and every later one, is a trap.
  panic() {
    this.isWell = () => false;
    this.request = () => { throw new WebAssembly.RuntimeError('unreachable'); };
  }

  isWell() { return true; }

  request(method, url, body, timeout, key) {
    const token = this.requests.length + 1;
    this.requests.push({token, method, url, body: body === undefined ? undefined : JSON.parse(body), timeout, key});
    return token;
  }

  // Tells the page how we stand.
  tell(state, unsent = 0) {
    this.isOnline = state === 'online';
    this.listener.status(state, unsent);
  }

  connect() { this.calls.push('connect'); }
  disconnect() { this.calls.push('disconnect'); }
  abort(token) {
    this.requests[token - 1].isWithdrawn = true;
    this.calls.push(`abort ${token}`);
  }
  withdraw(token) {
    if (!this.isOnline) this.requests[token - 1].isWithdrawn = true;
    return !this.isOnline;
  }
  delivered(id) { this.calls.push(`delivered ${id}`); }
  unsubscribe(room) { this.calls.push(`unsubscribe ${room}`); }
  online() { this.calls.push('online'); }
  offline() { this.calls.push('offline'); }
  free() { this.calls.push('free'); }

  // What it has been asked so far, as `GET /todo`.
  get asked() {
    return this.requests.map(({method, url}) => `${method.toUpperCase()} ${url}`);
  }

  // The same without what was taken back or aborted.
  get left() {
    return this.asked.filter((_, index) => !this.requests[index].isWithdrawn);
  }

  get last() {
    return this.requests.at(-1);
  }

  // Answers a request, the last one if none is given.
  answer(statusCode, body, headers = {}, {token} = this.last) {
    this.listener.finish(token, statusCode, body, headers);
  }

  // Answers a read that has joined a room.
  read(room, offset, body, request, epoch = EPOCH) {
    this.answer(200, body, {'backwire-room': room, 'backwire-position': `${epoch}:${offset}`}, request);
  }

  // Answers a write that was committed.
  wrote(record, offset, body, request) {
    const headers = {'backwire-record': record, 'backwire-position': `${EPOCH}:${offset}`};
    this.answer(200, body, headers, request);
  }

  push(room, ...changes) {
    this.listener.deliver(room, changes);
  }
}

// Changes, as they are on the wire.
export const created = (offset, record) => [offset, 1, record.id, record, 0];
export const updated = (offset, id, attributes) => [offset, 2, id, attributes, 0];
export const destroyed = (offset, id) => [offset, 3, id, null, 0];
