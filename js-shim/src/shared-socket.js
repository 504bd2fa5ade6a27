// One socket for several tabs
// ---------------------------
//
// The leader's tab has the connection to the server. The core of each tab, a member, has a virtual
// connection to it. All members are in the same namespace of the server, so they share its CONNECT.
// Requests get other ack ids on the way to the server, and each answer goes to the member that has
// asked. Positions, idempotency keys and writes that wait stay in the cores.
//
// The server sees one connection, and the rooms of all members. A member gets the pushes of its own
// rooms, which are known from its resumes and from the answers to its reads. Two things need care:
//
// - A push may arrive between the snapshot of a read and its answer. The member is not in the room
//   yet, so such pushes are kept, and delivered after the answer.
// - A connection in the class room `todo` gets the changes of record 7 there, and not in `todo/7`.
//   A member that is only in `todo/7` gets them in a push of `todo/7` that is made here. When the
//   class room is joined, or a push of it is missing, changes of the record may be missing, too.
//   Then the member is made to resume `todo/7`.

import {POSITION, PUSH, RESUME, ROOM, UNSUBSCRIBE} from './wire.js';

// The server allows 256 requests in flight on one connection. Probes do not count.
const MAX_IN_FLIGHT = 200;

// The most pushes that are kept for the reads in flight.
const MAX_KEPT = 500;

const PROBE = JSON.stringify([RESUME, []]);

// A core of a tab. `deliver(frame)` passes a frame to it.
class Member {
  constructor(deliver) {
    Object.assign(this, {deliver, rooms: new Set()});
  }
}

export class SharedSocket {
  // `socket` is a WebSocket, or an object like one. `deliver(frame)` passes a frame to the core of
  // the leader, whose CONNECT the members share. `onEnd` is called when the connection has ended.
  constructor(socket, deliver, onEnd) {
    this._socket = socket;
    this.own = new Member(deliver);
    this._members = new Set([this.own]);
    // Requests without an answer by their ack id, and those that are not sent yet.
    this._requests = new Map();
    this._waiting = [];
    this._lastAck = 0;
    // The pushes since the first request without an answer, and the number of those before them.
    this._kept = [];
    this._dropped = 0;
    // The last position of each class room that is joined.
    this._positions = new Map();
    // Rooms that a member has left, and the server has not.
    this._left = new Set();
    socket.onmessage = ({data}) => this._receive(data);
    socket.onclose = onEnd;
  }

  // Frames that members send are lost from now on.
  end() {
    this._members.clear();
    this._socket.onmessage = this._socket.onclose = null;
    this._socket.close();
  }

  // Members
  // -------

  join(deliver) {
    const member = new Member(deliver);
    this._members.add(member);
    if (this._connected) deliver(this._handshake);
    return member;
  }

  leave(member) {
    if (!this._members.delete(member)) return;
    member.deliver = () => {};
    this._waiting = this._waiting.filter(request => request.member !== member);
    for (const room of member.rooms) this._left.add(room);
    this._leaveRooms();
  }

  // Handles a frame of a member.
  send(member, frame) {
    if (!this._members.has(member)) return;
    const [head, ack, event] = /^42(\d*)\["(\w+)"/.exec(frame) ?? [''];
    if (ack) this._request({member, ack, event, data: frame.slice(2 + ack.length)});
    else if (event === UNSUBSCRIBE) this._unsubscribe(member, JSON.parse(frame.slice(2))[1]);
    else if (frame.startsWith('40') && this._connected) member.deliver(this._connected);
    // The answer to a ping was sent when the ping arrived.
    else if (head || member === this.own && frame !== '3') this._socket.send(frame);
  }

  _unsubscribe(member, room) {
    member.rooms.delete(room);
    this._left.add(room);
    this._leaveRooms();
  }

  // Requests
  // --------

  _request(request) {
    const {member, event, data} = request;
    if (event === RESUME) for (const [room] of JSON.parse(data)[1]) member.rooms.add(room);
    if (this._requests.size >= MAX_IN_FLIGHT && data !== PROBE) return this._waiting.push(request);
    request.since = this._dropped + this._kept.length;
    this._requests.set(++this._lastAck, request);
    this._socket.send(`42${this._lastAck}${data}`);
  }

  _answer(frame) {
    const [head, ack] = /^43(\d+)/.exec(frame);
    const request = this._requests.get(+ack);
    if (!request) return;
    this._requests.delete(+ack);
    const data = frame.slice(head.length);
    request.member.deliver(`43${request.ack}${data}`);
    if (request.event === RESUME) this._resumed(JSON.parse(data)[0]);
    else if (data.includes(ROOM)) this._wasRead(request, JSON.parse(data)[0].headers ?? {});
    this._sendWaiting();
    this._leaveRooms();
  }

  _sendWaiting() {
    if (this._waiting.length && this._requests.size < MAX_IN_FLIGHT) this._request(this._waiting.shift());
  }

  _wasRead({member, since}, {[ROOM]: room, [POSITION]: position}) {
    if (!room) return;
    if (!this._members.has(member)) this._left.add(room);
    const isNew = !member.rooms.has(room);
    member.rooms.add(room);
    const [epoch, offset] = (position ?? '').split(':').map(Number);
    if (offset >= 0) this._classJoined(room, epoch, offset);
    if (!isNew) return;
    const only = new Set([room]);
    if (since < this._dropped) member.deliver(lost(room));
    else for (const push of this._kept.slice(since - this._dropped)) pass(push, member, only);
  }

  _resumed(answers) {
    for (const [room, epoch, offset] of answers) if (epoch !== null) this._classJoined(room, epoch, offset);
  }

  // Tells the server which rooms no member is in. It would get that after the requests in flight,
  // which may have joined them again.
  _leaveRooms() {
    if (this._requests.size) return;
    this._kept = [];
    for (const room of this._left) {
      if ([...this._members].some(({rooms}) => rooms.has(room))) continue;
      this._positions.delete(room);
      this._socket.send(`42${JSON.stringify([UNSUBSCRIBE, room])}`);
    }
    this._left.clear();
  }

  // Frames of the server
  // --------------------

  _receive(frame) {
    const type = /^(4?\d)/.exec(frame)?.[0];
    if (type === '43') return this._answer(frame);
    if (type === '42') return this._event(frame);
    if (type === '2') {
      this._socket.send('3');
      for (const {deliver} of this._members) deliver(frame);
      return;
    }
    this.own.deliver(frame);
    if (type === '0') this._handshake = frame;
    if (type !== '40') return;
    this._connected = frame;
    for (const member of this._members) if (member !== this.own) member.deliver(this._handshake);
  }

  _event(frame) {
    const [event, room, epoch, prev, changes] = JSON.parse(frame.slice(2));
    if (event !== PUSH) return;
    const isAfterGap = isClass(room) && !this._follows(room, epoch, prev, changes);
    this._pass({frame, room, epoch, changes, isAfterGap});
  }

  // Whether no push of a class room is missing before this one.
  _follows(room, epoch, prev, changes) {
    const last = this._positions.get(room);
    if (!last) return false;
    const follows = last.epoch === epoch && prev <= last.offset;
    const offset = changes.at(-1)?.[0] ?? prev;
    // A push of epoch 0 means that the server has left the room.
    if (!epoch) this._positions.delete(room);
    else this._positions.set(room, {epoch, offset: follows ? Math.max(offset, last.offset) : offset});
    return follows;
  }

  // Changes of records may have been sent in neither room while the class room was joined.
  _classJoined(room, epoch, offset) {
    if (!isClass(room) || this._positions.has(room)) return;
    this._positions.set(room, {epoch, offset});
    this._pass({room, epoch, changes: [], isAfterGap: true});
  }

  _pass(push) {
    for (const member of this._members) pass(push, member, member.rooms);
    if (!this._requests.size) return;
    this._kept.push(push);
    if (this._kept.length <= MAX_KEPT) return;
    this._dropped += this._kept.length;
    this._kept = [];
  }
}

// Passes a push to a member that is in these rooms. Of a push in another class room it gets the
// changes of its records, each in the room of the record.
function pass({frame, room, epoch, changes, isAfterGap}, {deliver}, rooms) {
  if (rooms.has(room)) {
    if (frame) deliver(frame);
    return;
  }
  if (!isClass(room)) return;
  if (isAfterGap) for (const each of rooms) if (each.startsWith(`${room}/`)) deliver(lost(each));
  for (const change of changes) {
    const record = `${room}/${change[2]}`;
    if (rooms.has(record)) deliver(pushOf(record, epoch, [change]));
  }
}

function isClass(room) {
  return !/[/?]/.test(room);
}

// Makes a core resume the room: the position of another log.
function lost(room) {
  return pushOf(room, 0, []);
}

// `prev` is 0: the changes follow those that the core has.
function pushOf(room, epoch, changes) {
  return `42${JSON.stringify([PUSH, room, epoch, 0, changes])}`;
}
