// A server of Engine.IO, and the line to it
// -----------------------------------------
//
// `fetch` and `WebSocket` of a page, and behind them one session as the server keeps it. Whatever
// is on its way is a task of a channel. Tasks of one channel run in order; `pick` decides which
// channel is next, so a test can play all interleavings.

export class FakeEngine {
  // Packets that the server has received, and packets that it has not sent yet.
  received = [];
  waiting = [];

  // `none`, `polling`, `upgrading`, `websocket` or `closed`.
  state = 'none';

  // The fate of WebSockets: `work`, `refuse`, `hang` (nothing is answered), or `hang after 1`
  // (the first one works).
  sockets = 'work';

  // The fault of the next request of a method: `lose` (before the server), `lose answer`,
  // `error` (a 502), `page` (the page of a proxy), `hang`.
  faults = {};

  // All requests and sockets: [method or `socket`, url, body].
  log = [];
  open = [];
  problems = [];

  constructor({pick = count => 0, maxPayload = 1000} = {}) {
    Object.assign(this, {pick, maxPayload});
    this.channels = new Map();
    this.running = {GET: 0, POST: 0};
    const engine = this;
    this.page = {
      location: {origin: 'http://app.test'},
      fetch: (url, options) => this._fetch(url, options),
      WebSocket: class extends FakeSocket { constructor(url) { super(engine, url); } }
    };
  }

  // Runs tasks until none is left.
  async run(limit = Infinity) {
    for (let count = 0; count < limit; count++) {
      await settle();
      const ready = [...this.channels].filter(([, tasks]) => tasks.length);
      if (!ready.length) return;
      ready[this.pick(ready.length)][1].shift()();
    }
  }

  later(channel, task) {
    if (!this.channels.has(channel)) this.channels.set(channel, []);
    this.channels.get(channel).push(task);
  }

  // The server sends a packet.
  send(packet) {
    this.waiting.push(packet);
    if (this.state === 'websocket') this._flush();
    else this.answerPoll?.();
  }

  end() {
    this.state = 'closed';
    this.answerPoll?.();
    this.socket?.drop();
  }

  // HTTP
  // ----

  _fetch(url, {method, body, signal, ...options}) {
    this.log.push([method, url, body, options]);
    if ((this.running[method] += 1) > 1 && !options.keepalive) this.problems.push(`two requests ${method}`);
    const fault = this.faults[method];
    delete this.faults[method];
    const channel = Symbol(method);
    return new Promise((resolve, reject) => {
      const end = settleIt => value => {
        if (!this.running[method]) return;
        this.running[method] -= 1;
        settleIt(value);
      };
      const [done, failed] = [end(resolve), end(reject)];
      signal?.addEventListener('abort', () => {
        this.answerPoll = null;
        failed(new DOMException('aborted', 'AbortError'));
      });
      const answer = (status, text) => this.later(channel, () => {
        if (fault === 'lose answer') failed(new TypeError('network'));
        else done({ok: status === 200, status, text: async () => text});
      });
      this.later(channel, () => {
        if (fault === 'hang') return;
        if (fault === 'lose') return failed(new TypeError('network'));
        if (fault === 'error') return answer(502, 'bad gateway');
        if (fault === 'page') return answer(200, '<html>Sign in</html>');
        if (method === 'GET') this._get(url, answer);
        else this._post(url, body, answer);
      });
    });
  }

  _get(url, answer) {
    if (!url.includes('sid=') && this.state === 'none') {
      this.state = 'polling';
      return answer(200, `0${JSON.stringify({sid: 'abc', maxPayload: this.maxPayload, upgrades: ['websocket'], pingInterval: 25000, pingTimeout: 20000})}`);
    }
    if (this.state === 'upgrading') return answer(200, '6');
    if (this.state !== 'polling') return answer(400, '{}');
    if (this.answerPoll) {
      this.problems.push('two polls');
      return answer(400, '{}');
    }
    this.answerPoll = noop => {
      if (this.state !== 'closed' && !noop && !this.waiting.length) return;
      this.answerPoll = null;
      answer(200, this.state === 'closed' ? '' : noop || this.waiting.splice(0).join('\x1e'));
    };
    this.answerPoll();
  }

  _post(url, body, answer) {
    if (!['polling', 'upgrading'].includes(this.state)) return answer(400, '{}');
    if (body.length > this.maxPayload) return answer(413, '{}');
    for (const packet of body.split('\x1e')) this._receive(packet);
    answer(200, 'ok');
  }

  _receive(packet) {
    if (packet === '1') this.end();
    else this.received.push(packet);
  }

  // WebSockets
  // ----------

  accept(socket) {
    if (!socket.url.includes('sid=')) return socket.tell('0{"sid":"other"}');
    if (this.state !== 'polling') return socket.drop();
    this.state = 'upgrading';
    this.answerPoll?.('6');
    socket.isUpgrading = true;
  }

  arrive(socket, packet) {
    if (packet === '2probe' && socket.isUpgrading) socket.tell('3probe');
    else if (packet === '5' && this.state === 'upgrading') {
      if (this.running.GET || this.running.POST) this.problems.push('upgraded while a request runs');
      Object.assign(this, {state: 'websocket', socket});
      this._flush();
    } else if (socket === this.socket) this._receive(packet);
    else this.problems.push(`unexpected ${packet}`);
  }

  _flush() {
    for (const packet of this.waiting.splice(0)) this.socket.tell(packet);
  }
}

class FakeSocket extends EventTarget {
  isOpen = false;

  constructor(engine, url) {
    super();
    Object.assign(this, {engine, url, up: Symbol('up'), down: Symbol('down')});
    engine.log.push(['socket', url]);
    if (engine.open.push(this) > 1) engine.problems.push('two sockets');
    const {sockets} = engine;
    if (sockets === 'hang after 1') engine.sockets = 'hang';
    if (sockets === 'hang') return;
    engine.later(this.up, () => {
      if (sockets === 'refuse') return this.drop();
      engine.later(this.down, () => this._fire('open'));
      engine.accept(this);
    });
  }

  send(packet) {
    this.engine.later(this.up, () => this.engine.arrive(this, packet));
  }

  tell(data) {
    this.engine.later(this.down, () => this._fire('message', {data}));
  }

  // The line or the server ends it.
  drop() {
    this.engine.later(this.down, () => this._end());
  }

  close() {
    this.engine.later(this.up, () => {
      if (this.isUpgrading && this.engine.state !== 'websocket' || this.engine.socket === this) this.engine.end();
      this._end();
    });
    this._leave();
  }

  _end() {
    this._leave();
    if (!this.hasEnded) this._fire('close');
    this.hasEnded = true;
  }

  _leave() {
    this.engine.open = this.engine.open.filter(it => it !== this);
  }

  _fire(type, about = {}) {
    if (this.hasEnded) return;
    const event = Object.assign(new Event(type), about);
    this.dispatchEvent(event);
    this[`on${type}`]?.(event);
  }
}

// Lets all promises settle.
export function settle() {
  return new Promise(resolve => { setImmediate(resolve); });
}
