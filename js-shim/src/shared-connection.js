// A connection that tabs share
// ----------------------------
//
// The tabs with the same server and identity elect a leader, by a Web Lock. The leader opens the
// socket, and the others, its followers, reach it over BroadcastChannels: one for all tabs, and one
// for each follower. An object of this class is one connection of the core, in either role. It ends
// when the leader, its socket or this tab ends. The core then connects again and resumes, as after
// any interruption, and the tabs elect a leader again.
//
// - Each tab waits for the lock of the leader. If a follower gets it, its leader is gone.
// - Each follower holds a lock of its own, so that the leader notices when it is gone.
// - A leader may be frozen, or too busy to answer. A follower without an answer for five seconds
//   ends its connection, and the next one steals the lock.
// - Each leader has a higher number than those before it, and each message has the number of its
//   leader. A former leader that runs again has lost its lock, or gets a message that is too old or
//   has a higher number. It ends, and sends nothing of that message.

import {SharedSocket} from './shared-socket.js';

// A follower asks its leader, or looks for one, once in this time, in milliseconds.
const INTERVAL = 1000;
// The same after a leader did not answer.
const SHORT_INTERVAL = 100;
// So many questions may be without an answer. A leader is given up after five seconds.
const MAX_UNANSWERED = 4;
// A message that is older shows that this tab was stopped. Its sender may have given it up.
const MAX_AGE = (MAX_UNANSWERED - 0.5) * INTERVAL;
// A follower that is silent for so long is removed, because its messages take memory. A browser
// may run the timers of a hidden tab once a minute.
const MAX_SILENCE = 180000;

// The types of messages. `lead` and `hello` are to all tabs, the others to the leader.
const LEAD = 'lead';
const HELLO = 'hello';
const FRAME = 'frame';
const ASK = 'ask';
const BYE = 'bye';

export class SharedConnection {
  // `openSocket` opens a connection to the server. `name` is of the locks and channels. `memory` is
  // kept from one connection of this tab to the next:
  // - `term`, the highest number of a leader
  // - `closedAt`, when the core has closed a connection
  // - `isImpatient`: the last leader did not answer
  // - `isLeft`: the page is left
  constructor(page, name, memory, openSocket) {
    Object.assign(this, {page, name, memory, openSocket, onmessage: null, onclose: null});
    this._id = [...crypto.getRandomValues(new Uint32Array(4))].join('-');
    this._endRequests = new AbortController();
    this._end = new Promise(resolve => { this._release = resolve; });
    this._channels = [];
    this._unanswered = 0;
    memory.isLeft = false;
    this._all = this._channel(this.name, message => this._hear(message));
    this._toLeader = this._channel(this._ownName, message => this._hearLeader(message));
    this._listenToPage('addEventListener');
    // A leader must not find this lock free.
    this._hold(this._ownName, () => {
      this._isHeld = true;
      this._sayHello();
    }).catch(() => {});
    this._waitForLead();
    this._look();
  }

  get _ownName() {
    return `${this.name} ${this._id}`;
  }

  // The core
  // --------

  send(frame) {
    if (this._socket) this._socket.send(this._socket.own, frame);
    else this._tell(this._toLeader, FRAME, frame);
  }

  // The core wants another connection, unless the page is left. Another user may have signed in, so
  // the next connection has to be newer than this moment, for all tabs.
  close() {
    if (!this._isOver && this._term && !this.memory.isLeft) this.memory.closedAt = Date.now();
    this._finish();
  }

  _deliver(data) {
    if (!this._isOver) this.onmessage?.({data});
  }

  // Ends the connection, and reports it to the core.
  _fail() {
    if (this._isOver) return;
    this._finish();
    Promise.resolve().then(() => this.onclose?.({}));
  }

  _finish() {
    if (this._isOver) return;
    this._isOver = true;
    clearTimeout(this._timer);
    clearInterval(this._sweep);
    this._listenToPage('removeEventListener');
    if (this._socket) this._endSocket();
    else if (this._term) this._tell(this._toLeader, BYE);
    this._endRequests.abort();
    this._release();
    for (const channel of this._channels) channel.close();
  }

  // A frozen page answers nobody.
  _listenToPage(how) {
    this._onFreeze ??= () => this._fail();
    this.page.document?.[how]?.('freeze', this._onFreeze);
  }

  // Locks and channels
  // ------------------

  // Holds a lock until this connection ends. `use` is called when it is there.
  _hold(name, use, options = {signal: this._endRequests.signal}) {
    return this.page.navigator.locks.request(name, options, () => {
      if (this._isOver) return;
      use();
      return this._end;
    });
  }

  _waitForLead() {
    this._queued = new AbortController();
    this._endRequests.signal.addEventListener('abort', () => this._queued.abort());
    this._holdLead({signal: this._queued.signal});
  }

  _steal() {
    this._queued.abort();
    this._holdLead({steal: true});
  }

  // If this is a follower by now, the lock was of its leader.
  _holdLead(options) {
    const use = () => (this._term ? this._fail() : this._lead());
    this._hold(this.name, use, options).catch(error => this._lostLock(error));
  }

  // Called when another tab has stolen the lock of this leader, or when there are no locks here,
  // such as in a page without storage: then the tab has a socket of its own.
  _lostLock({name}) {
    if (this._isOver) return;
    if (this._socket) this._fail();
    else if (name !== 'AbortError') this._lead();
  }

  _channel(name, hear) {
    const channel = new this.page.BroadcastChannel(name);
    channel.onmessage = ({data}) => this._isOver || hear(data);
    this._channels.push(channel);
    return channel;
  }

  _tell(channel, ...message) {
    if (!this._isOver || message[0] === BYE) channel.postMessage([this._term ?? this.memory.term, Date.now(), ...message]);
  }

  // Messages to all tabs. A message of a higher number ends this connection.
  _hear([term, at, type, id, closedAt]) {
    const isNewer = term > this.memory.term;
    if (isNewer) this.memory.term = term;
    if (isNewer && this._term) return this._fail();
    if (this._socket) return type === HELLO && this._greet(id, at, closedAt);
    if (type === LEAD) this._sayHello();
  }

  // The follower
  // ------------

  // Looks for a leader, and asks it whether it is there.
  _look() {
    const interval = this.memory.isImpatient && !this._term ? SHORT_INTERVAL : INTERVAL;
    this._timer = setTimeout(() => {
      if (this._unanswered++ >= MAX_UNANSWERED) return this._missLeader();
      if (this._term) this._tell(this._toLeader, ASK);
      this._sayHello();
      this._look();
    }, interval);
  }

  _sayHello() {
    if (this._isHeld && !this._term) this._tell(this._all, HELLO, this._id, this.memory.closedAt);
  }

  _missLeader() {
    if (!this._term) return this._steal();
    this.memory.isImpatient = true;
    this._fail();
  }

  // A message of the leader: a frame, an answer without one, or null if the leader ends.
  _hearLeader([term, frame]) {
    if (this._socket || term !== (this._term ?? term)) return;
    this._term = term;
    this.memory.term = Math.max(this.memory.term, term);
    this.memory.isImpatient = false;
    this._unanswered = 0;
    if (frame === null) this._fail();
    else if (frame !== undefined) this._deliver(frame);
  }

  // The leader
  // ----------

  _lead() {
    const {memory} = this;
    clearTimeout(this._timer);
    memory.isImpatient = false;
    this._term = memory.term = Math.max(Date.now(), memory.term + 1);
    this._openedAt = Date.now();
    // The followers, by their id.
    this._followers = new Map();
    try {
      const deliver = frame => void Promise.resolve().then(() => this._deliver(frame));
      this._socket = new SharedSocket(this.openSocket(), deliver, () => this._fail());
    } catch {
      return this._fail();
    }
    this._sweep = setInterval(() => this._removeSilent(), MAX_SILENCE / 3);
    this._tell(this._all, LEAD);
  }

  _endSocket() {
    this._socket.end();
    for (const {channel} of this._followers.values()) channel.postMessage([this._term, null]);
  }

  // A follower looks for a leader.
  _greet(id, at, closedAt) {
    if (this._wasStopped(at) || closedAt > this._openedAt) return this._fail();
    if (this._followers.has(id)) return;
    const name = `${this.name} ${id}`;
    const channel = this._channel(name, message => this._hearFollower(follower, message));
    const follower = {channel, heardAt: Date.now()};
    this._followers.set(id, follower);
    const remove = follower.remove = () => {
      if (!this._followers.delete(id)) return;
      this._socket.leave(follower.member);
      this._channels.splice(this._channels.indexOf(channel), 1);
      channel.close();
    };
    channel.postMessage([this._term]);
    follower.member = this._socket.join(frame => channel.postMessage([this._term, frame]));
    // The follower holds this lock as long as it is there.
    this.page.navigator.locks.request(name, {signal: this._endRequests.signal}, () => this._isOver || remove()).catch(() => {});
  }

  _hearFollower(follower, [term, at, type, frame]) {
    if (term !== this._term) return;
    if (this._wasStopped(at)) return this._fail();
    follower.heardAt = Date.now();
    if (type === FRAME) this._socket.send(follower.member, frame);
    else if (type === ASK) follower.channel.postMessage([this._term]);
    else follower.remove();
  }

  // Whether a message has waited so long that its sender has missed this tab.
  _wasStopped(at) {
    return Date.now() - at > MAX_AGE;
  }

  _removeSilent() {
    for (const {channel, heardAt, remove} of [...this._followers.values()]) {
      if (Date.now() - heardAt <= MAX_SILENCE) continue;
      channel.postMessage([this._term, null]);
      remove();
    }
  }
}
