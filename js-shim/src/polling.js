// HTTP long-polling
// -----------------
//
// A session of Engine.IO 4 over HTTP, with the interface of a WebSocket. A request that fails ends
// the session, and the core resends what was not answered. `upgrade.js` replaces the requests by a
// WebSocket, and the core does not notice.
//
// Invariant: one GET at a time receives packets, and one POST at a time sends them, and the
// WebSocket is used when none is under way. So each side gets all packets once, in the order in
// which they were sent.

import {Upgrade} from './upgrade.js';

const SEPARATOR = '\x1e';
const NOOP = '6';
const CLOSE = '1';

// The bytes of packets that are sent together. The server may refuse a larger body while its memory
// for requests is used up, and browsers send no larger one while the page is left.
const MAX_BATCH = 60000;

export class Polling {
  // `connection` is what the core has.
  constructor(connection, url, connections) {
    Object.assign(this, {_connection: connection, _connections: connections});
    this._url = url.replace(/^ws/, 'http').replace(/transport=\w+/, 'transport=polling');
    this._requests = 0;
    this._credentials = connections.credentials ?? 'include';
    this._maxPayload = MAX_BATCH;
    // Packets that wait for a POST.
    this._queue = [];
    this._polls = new AbortController();
    this._upgrade = new Upgrade(this, url, connections);
    connection.send = packet => this._send(packet);
    connection.close = () => this._close();
    this._poll();
  }

  // Receiving
  // ---------

  async _poll() {
    this._isPolling = true;
    try {
      this._open(await this._handshake());
      while (!this._isStopped && !this._isEnded) this._receive(await this._request('GET'));
    } catch {
      this.fail();
    }
    this._isPolling = false;
    this._continueUpgrade();
  }

  // Cookies are sent as with a WebSocket. A server that takes none from pages of this origin allows
  // only requests without them, and the browser reports others as failed.
  async _handshake() {
    const isSameOrigin = new URL(this._url).origin === this._connections.page.location?.origin;
    if (isSameOrigin || this._credentials === 'omit') return this._request('GET');
    return this._request('GET').catch(error => {
      if (error.isAnswer || this._isEnded) throw error;
      this._credentials = 'omit';
      return this._request('GET');
    });
  }

  _open(payload) {
    const [first] = payload.split(SEPARATOR);
    if (first[0] !== '0') throw new Error('no handshake');
    const {sid, maxPayload, upgrades} = JSON.parse(first.slice(1));
    this._url += `&sid=${sid}`;
    this._sid = sid;
    this._maxPayload = Math.min(maxPayload ?? MAX_BATCH, MAX_BATCH);
    this._canUpgrade = upgrades?.includes('websocket');
    Object.assign(this._connections, {usesPolling: true, credentials: this._credentials});
    this._receive(payload);
  }

  _receive(payload) {
    for (const packet of payload.split(SEPARATOR)) {
      // The answer of something else, or of a session that has ended.
      if (!/^[0-6]/.test(packet)) throw new Error('no packet');
      if (packet !== NOOP) this._emit(packet);
      // The first message shows that the server has accepted the page.
      if (packet[0] === '4' && this._canUpgrade && !this._isEnded) {
        this._canUpgrade = false;
        this._upgrade.begin(this._sid);
      }
    }
  }

  // As with a WebSocket, an exception of a listener is reported to the window and changes nothing.
  _emit(data) {
    try {
      if (!this._isEnded) this._connection.onmessage?.({data});
    } catch (error) {
      setTimeout(() => { throw error; });
    }
  }

  // Sending
  // -------

  _send(packet) {
    if (this._isEnded) return;
    if (this._socket) return this._socket.send(packet);
    this._queue.push(packet);
    this._flush();
  }

  async _flush() {
    if (this._isSending) return;
    this._isSending = true;
    // Packets of one task are sent together.
    await null;
    try {
      while (this._queue.length && !this._whenIdle) await this._request('POST', this._nextPayload());
    } catch {
      this._isSending = false;
      return this.fail();
    }
    this._isSending = false;
    this._continueUpgrade();
  }

  // Removes the packets of the next POST from the queue: at least one.
  _nextPayload() {
    let size = -1, count = 0;
    for (const packet of this._queue) {
      size += new TextEncoder().encode(packet).length + 1;
      if (count && size > this._maxPayload) break;
      count += 1;
    }
    return this._queue.splice(0, count).join(SEPARATOR);
  }

  async _request(method, body) {
    const isPost = method === 'POST';
    // A cache that ignores the headers of the server never sees the same url twice.
    const response = await this._connections.page.fetch(`${this._url}&t=${this._requests++}`, {
      method, body, credentials: this._credentials, cache: 'no-store',
      // The last POST has to leave even if the page is left.
      ...(isPost ? {keepalive: this._isEnded} : {signal: this._polls.signal})
    });
    const text = await response.text();
    if (response.ok && (!isPost || text === 'ok')) return text;
    throw Object.assign(new Error(text), {isAnswer: true});
  }

  // The end
  // -------

  // Ends the session because a request or the WebSocket has failed. What waits is not sent: the
  // core sends it again, over the next connection.
  fail() {
    if (this._isEnded) return;
    this._queue = [];
    this._close();
    this._connection.onclose?.({});
  }

  // Ends the session after the packets that wait have been sent, and tells the server.
  _close() {
    if (this._isEnded) return;
    this._isEnded = true;
    this._polls.abort();
    this._upgrade.end();
    if (!this._sid || this._socket) return;
    this._whenIdle = null;
    this._queue.push(CLOSE);
    this._flush();
  }

  // The upgrade
  // -----------

  // Begins no other GET. The server answers the current one when the upgrade begins.
  stopPolling() {
    this._isStopped = true;
  }

  // Sends nothing more, and calls back when no request is under way.
  pause(callback) {
    this._whenIdle = callback;
    this._continueUpgrade();
  }

  _continueUpgrade() {
    if (!this._isEnded && !this._isPolling && !this._isSending) this._whenIdle?.();
  }

  // From now on the WebSocket has all packets, beginning with those that wait.
  useSocket(socket) {
    this._whenIdle = null;
    this._socket = socket;
    socket.onmessage = ({data}) => this._emit(data);
    socket.onclose = () => this.fail();
    for (const packet of this._queue.splice(0)) socket.send(packet);
  }
}
