// Connections of the core
// -----------------------
//
// The core has one connection at a time: a WebSocket, or HTTP long-polling (the part `polling`)
// where WebSockets do not work. Some proxies refuse WebSockets, end them, or never answer. So if an
// attempt gets no packet of the server, the next one uses the other transport. The transport that
// worked last is tried first.

// A WebSocket has failed if it is silent for this long, in milliseconds.
const MAX_SILENCE = 5000;

export class Connections {
  constructor(page, use) {
    Object.assign(this, {page, use});
    // Whether the next attempt polls.
    this.usesPolling = false;
    // The pause before a session that polls tries a WebSocket, in milliseconds.
    this.upgradeDelay = 0;
  }

  // Opens a connection of the core. Returns a WebSocket, or an object with its `send`, `close`,
  // `onmessage` and `onclose`.
  open(url) {
    return this.usesPolling ? this._poll(url) : this._openSocket(url);
  }

  _openSocket(url) {
    // In case the constructor throws.
    this.usesPolling = true;
    const socket = new this.page.WebSocket(url);
    this.usesPolling = false;
    // A socket without this listener was closed by the core, and has not failed.
    const fail = () => { this.usesPolling ||= Boolean(socket.onclose); };
    const timer = setTimeout(() => {
      fail();
      socket.onclose?.({});
    }, MAX_SILENCE);
    socket.addEventListener('close', fail);
    socket.addEventListener('message', () => {
      clearTimeout(timer);
      socket.removeEventListener('close', fail);
    }, {once: true});
    return socket;
  }

  // The part replaces the functions of the connection. Its first packet sets `usesPolling` again.
  _poll(url) {
    this.usesPolling = false;
    const connection = {send() {}, close() { connection.isClosed = true; }};
    this.use('polling', part => {
      if (connection.isClosed) return;
      if (part) new part.Polling(connection, url, this);
      else connection.onclose({});
    });
    return connection;
  }
}
