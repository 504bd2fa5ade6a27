// A fake of the wasm client
// -------------------------
//
// It has the interface of the wasm client and records its requests. A test answers and pushes, in
// any order. Frames, connections and echoes are tested in the core.

const EPOCH = 7;

export class FakeClient {
  constructor(url, auth, session, seed, listener) {
    Object.assign(this, {url, auth: auth && JSON.parse(auth), session, seed, listener});
    // All requests, oldest first, and all other calls.
    this.requests = [];
    this.calls = [];
    // Requests wait while this is false.
    this.isOnline = true;
  }

  // Panics: from now on every request is a trap.
  panic() {
    this.isWell = () => false;
    this.request = () => { throw new WebAssembly.RuntimeError('unreachable'); };
  }

  isWell() { return true; }

  request(token, method, url, headers, body, key, kind) {
    const parsed = body === undefined ? undefined : JSON.parse(body);
    this.requests.push({token, method, url, headers: JSON.parse(headers || '{}'), body: parsed, key, kind, waited: !this.isOnline || kind === 1});
    return true;
  }

  // The server is there, and the client asks for the auth of its CONNECT. Returns what it sends.
  join() {
    this.sentAuth = undefined;
    this.listener.authenticate();
    return this.sentAuth;
  }

  // Reports the state of the connection to the page.
  tell(state, unsent = 0) {
    this.isOnline = state === 'online';
    this.listener.status(state, unsent);
  }

  connect() { this.calls.push('connect'); }
  disconnect() { this.calls.push('disconnect'); }
  authenticate(auth) { this.sentAuth = auth && JSON.parse(auth); }
  refuse(reason) { this.calls.push(`refuse ${reason}`); }
  abort(token) {
    this.requestOf(token).isWithdrawn = true;
    this.calls.push(`abort ${token}`);
  }
  withdraw(token) {
    if (!this.isOnline) this.requestOf(token).isWithdrawn = true;
    return !this.isOnline;
  }
  answeredOverHttp(token, status, body, headers) { this.listener.finish(token, status, body, headers, false); }
  delivered(id) { this.calls.push(`delivered ${id}`); }
  unsubscribe(room) { this.calls.push(`unsubscribe ${room}`); }
  wake() { this.calls.push('wake'); }
  park() { this.calls.push('park'); }
  reconnect() { this.calls.push('reconnect'); }
  free() { this.calls.push('free'); }

  requestOf(token) {
    return this.requests.find(request => request.token === token);
  }

  // All requests so far, in the form `GET /todo`.
  get asked() {
    return this.requests.map(({method, url}) => `${method.toUpperCase()} ${url}`);
  }

  // The same without withdrawn and aborted requests.
  get left() {
    return this.asked.filter((_, index) => !this.requests[index].isWithdrawn);
  }

  get last() {
    return this.requests.at(-1);
  }

  // Answers a request, the last one if none is given.
  answer(statusCode, body, headers = {}, {token, waited = false} = this.last) {
    this.listener.finish(token, statusCode, body, {'content-type': 'application/json', ...headers}, waited);
  }

  // Answers a read that has joined a room.
  read(room, offset, body, request = this.last, epoch = EPOCH, query = queryOf(room, request.url)) {
    this.answer(200, body, {'backwire-room': room, 'backwire-position': `${epoch}:${offset}`, 'backwire-query': query}, request);
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

// The `backwire-query` of the server, as far as tests need it.
export function queryOf(room, url) {
  const parameters = new URLSearchParams(url.split('?')[1]);
  if (/^[^?]*\//.test(room)) return 'one';
  const part = ['limit', 'skip', 'select', 'omit', 'populate'].filter(name => parameters.has(name));
  const sort = parameters.get('sort');
  const kind = part.length ? 'part' : room.includes('?') ? 'filter' : 'whole';
  const shape = part.filter(name => /select|omit|populate/.test(name)).map(name => `;${name}`);
  return kind + (sort ? `;sort=${sort.split(',').map(it => it.split(' ')[0]).join(',')}` : '') + shape.join('');
}

// Changes, as they are on the wire.
export const created = (offset, record) => [offset, 1, record.id, record, 0];
export const updated = (offset, id, attributes) => [offset, 2, id, attributes, 0];
export const destroyed = (offset, id) => [offset, 3, id, null, 0];
