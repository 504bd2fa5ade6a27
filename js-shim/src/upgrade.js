// From polling to a WebSocket
// ---------------------------
//
// While a session polls, this tries from time to time whether a WebSocket works, for example
// because the laptop has left the network of a proxy. The first try is a WebSocket of its own that
// is closed after the first packet: for the session, a WebSocket that reaches the server and then
// hangs would hold back all packets, and end it. If that works, a second WebSocket replaces the
// requests of the session, by the handshake of Engine.IO:
//
//     → 2probe   the server answers the GET that waits
//     ← 3probe   the client sends nothing more by POST, and waits until no request is under way
//     → 5        from now on both sides use the WebSocket
//
// So each side has all earlier packets before the first one over the WebSocket.

// How long each of the two may take, in milliseconds.
const TIMEOUT = 5000;

// The pauses between tries, in milliseconds. The first try has none.
const MIN_PAUSE = 10000;
const MAX_PAUSE = 300000;

export class Upgrade {
  constructor(polling, url, connections) {
    Object.assign(this, {_polling: polling, _url: url, _connections: connections, _pause: connections.upgradeDelay});
  }

  begin(sid) {
    this._sid = sid;
    this._timer = setTimeout(() => this._try(), this._pause);
  }

  _try() {
    let isWorking = false;
    const socket = this._open('', isLate => {
      if (isWorking && !isLate) return this._replace();
      this._pause = longer(this._pause);
      this.begin(this._sid);
    });
    if (socket) socket.onmessage = ({data}) => {
      isWorking = `${data}`[0] === '0';
      socket.close();
    };
  }

  // The server ends a session whose upgrade fails.
  _replace() {
    const connections = this._connections;
    this._polling.stopPolling();
    const socket = this._open(`&sid=${this._sid}`, () => {
      connections.upgradeDelay = longer(connections.upgradeDelay);
      this._polling.fail();
    });
    if (!socket) return;
    socket.onopen = () => socket.send('2probe');
    socket.onmessage = ({data}) => data === '3probe' && this._polling.pause(() => {
      clearTimeout(this._timer);
      socket.send('5');
      Object.assign(connections, {usesPolling: false, upgradeDelay: 0});
      this._polling.useSocket(socket);
    });
  }

  // Opens a WebSocket. Calls back when it is closed, or with `true` after the timeout.
  _open(query, whenClosed) {
    const end = isLate => {
      this.end();
      whenClosed(isLate);
    };
    this._timer = setTimeout(end, TIMEOUT, true);
    try {
      this._socket = new this._connections.page.WebSocket(this._url + query);
    } catch {
      end(false);
      return null;
    }
    this._socket.onclose = () => end(false);
    return this._socket;
  }

  // Closes the WebSocket, and makes no more tries.
  end() {
    clearTimeout(this._timer);
    if (this._socket) Object.assign(this._socket, {onopen: null, onmessage: null, onclose: null}).close();
    this._socket = null;
  }
}

function longer(pause) {
  return Math.min(Math.max(pause * 2, MIN_PAUSE), MAX_PAUSE);
}
