// One socket for several cores: the frames of both sides
// ------------------------------------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {SharedSocket} from '../src/shared-socket.js';

const HANDSHAKE = '0{"sid":"a","pingInterval":25000,"pingTimeout":20000,"maxPayload":4000000}';
const CONNECTED = '40{"sid":"b"}';
const push = (room, prev, ...changes) => `42${JSON.stringify(['push', room, 7, prev, changes])}`;
const change = (offset, id) => [offset, 2, id, {n: offset}, 0];
const lost = room => `42["push","${room}",0,0,[]]`;
const RECORDS = [change(6, 7), change(7, 8)];

// A connected socket with this many members beside that of the leader. `sent` are the frames to the
// server since then, `got` those to a member.
function connected(count = 2) {
  const sent = [];
  const socket = {send: frame => sent.push(frame), close() { this.isClosed = true; }};
  const own = [];
  const shared = new SharedSocket(socket, frame => own.push(frame), () => {});
  const receive = data => socket.onmessage({data});
  receive(HANDSHAKE);
  shared.send(shared.own, '40{"backwire":1}');
  receive(CONNECTED);
  const members = [{frames: own, member: shared.own}];
  while (members.length <= count) {
    const frames = [];
    members.push({frames, member: shared.join(frame => frames.push(frame))});
    shared.send(members.at(-1).member, '40{"backwire":1}');
  }
  assert.deepEqual(members.map(({frames}) => frames.splice(0)), members.map(() => [HANDSHAKE, CONNECTED]));
  assert.deepEqual(sent.splice(0), ['40{"backwire":1}']);
  const send = (at, frame) => shared.send(members[at].member, frame);
  const got = at => members[at].frames.splice(0);
  // Sends a read. Returns a function that answers it, and checks that the core gets the answer.
  let asked = 0;
  const ask = at => {
    const ack = (asked += 1);
    send(at, `42${ack}["get",{"url":"/any"}]`);
    const [, mapped] = /^42(\d+)/.exec(sent.pop());
    return (room, offset, isThere = true) => {
      const answer = JSON.stringify([{body: [], statusCode: 200, headers: {'backwire-position': `7:${offset}`, 'backwire-room': room}}]);
      receive(`43${mapped}${answer}`);
      if (isThere) assert.equal(members[at].frames.shift(), `43${ack}${answer}`);
    };
  };
  const join = (at, room, offset = 5) => ask(at)(room, offset);
  return {shared, socket, sent, receive, members, send, got, ask, join};
}

test('requests of cores with the same ack id are answered to the core that has asked', () => {
  const {sent, receive, send, got} = connected();
  send(1, '421["get",{"url":"/a"}]');
  send(2, '421["put",{"url":"/b"}]');
  assert.deepEqual(sent, ['421["get",{"url":"/a"}]', '422["put",{"url":"/b"}]']);
  receive('432[{"statusCode":200}]');
  receive('431[{"statusCode":404}]');
  receive('439[{"statusCode":500}]');
  assert.deepEqual([0, 1, 2].map(got), [[], ['431[{"statusCode":404}]'], ['431[{"statusCode":200}]']]);
});

test('a ping is answered once, and passed on to all', () => {
  const {sent, receive, send, got} = connected();
  receive('2');
  for (const at of [0, 1, 2]) send(at, '3');
  assert.deepEqual([sent, got(0), got(2)], [['3'], ['2'], ['2']]);
});

test('a refused connection is reported to the core of the leader', () => {
  const frames = [];
  const socket = {send() {}, close() {}};
  const shared = new SharedSocket(socket, frame => frames.push(frame), () => {});
  shared.join(() => assert.fail('the others find out when they lead'));
  socket.onmessage({data: HANDSHAKE});
  socket.onmessage({data: '44{"message":"E_VERSION: no"}'});
  assert.deepEqual(frames, [HANDSHAKE, '44{"message":"E_VERSION: no"}']);
});

test('pushes reach the cores that are in the room by a read or a resume', () => {
  const {receive, send, got, join} = connected(3);
  join(1, 'todo');
  send(2, '429["resume",[["todo",7,5]]]');
  send(3, '429["resume",[["note",7,5]]]');
  receive(push('todo', 5, change(6, 7)));
  assert.deepEqual([0, 1, 2, 3].map(got), [[], [push('todo', 5, change(6, 7))], [push('todo', 5, change(6, 7))], []]);
});

test('a push in the class room is one of the record for a core that is only in that room', () => {
  const {receive, got, join} = connected();
  join(1, 'todo');
  join(2, 'todo/7');
  receive(push('todo', 5, ...RECORDS));
  assert.deepEqual([got(1), got(2)], [[push('todo', 5, ...RECORDS)], [push('todo/7', 0, change(6, 7))]]);
});

test('rooms of filters, and records of other resources, are independent of the class room', () => {
  const {receive, got, join} = connected();
  join(1, 'todo');
  join(2, 'todo?x');
  join(2, 'todos/7');
  receive(push('todo', 5, ...RECORDS));
  assert.deepEqual(got(2), []);
});

test('a core in the room of a record resumes it if a push of the class room is missing', () => {
  const {receive, got, join} = connected();
  join(1, 'todo');
  join(2, 'todo/7');
  receive(push('todo', 6, change(7, 8)));
  assert.deepEqual(got(2), [lost('todo/7')]);
  receive(push('todo', 7, change(8, 7)));
  receive(push('todo', 9));
  assert.deepEqual(got(2), [push('todo/7', 0, change(8, 7)), lost('todo/7')]);
});

test('a core in the room of a record resumes it when another core joins the class room', () => {
  const {receive, got, ask, join, send} = connected();
  join(2, 'todo/7');
  const answer = ask(1);
  receive(push('todo', 5, change(6, 7)));
  assert.deepEqual(got(2), [lost('todo/7'), push('todo/7', 0, change(6, 7))]);
  answer('todo', 5);
  assert.deepEqual([got(1), got(2)], [[push('todo', 5, change(6, 7))], [lost('todo/7')]]);
  join(0, 'todo', 6);
  assert.deepEqual(got(2), [], 'the class room is joined already');
  for (const at of [0, 1]) send(at, '42["unsubscribe","todo"]');
  join(0, 'todo', 6);
  assert.deepEqual(got(2), [lost('todo/7')], 'the class room was left');
});

test('a resume of the class room counts as joining it', () => {
  const {receive, got, join, send} = connected();
  join(2, 'todo/7');
  send(1, '424["resume",[["todo",7,5],["note",7,1]]]');
  receive('432[[["todo",7,9,[]],["note",null]]]');
  assert.deepEqual(got(2), [lost('todo/7')]);
  receive(push('todo', 9, change(10, 7)));
  assert.deepEqual(got(2), [push('todo/7', 0, change(10, 7))]);
});

test('a push that arrives before the answer to the read is delivered after it', () => {
  const {receive, got, ask, join} = connected();
  join(1, 'todo');
  const answers = [ask(2), ask(2)];
  receive(push('todo', 5, ...RECORDS));
  receive(push('todo?x', 0, change(7, 8)));
  assert.deepEqual(got(2), []);
  answers[0]('todo/8', 5);
  assert.deepEqual(got(2), [push('todo/8', 0, change(7, 8))]);
  answers[1]('todo?x', 5);
  assert.deepEqual(got(2), [push('todo?x', 0, change(7, 8))]);
});

test('a core resumes its room if too many pushes have arrived before the answer', () => {
  const {receive, got, ask, join} = connected();
  join(1, 'todo');
  const answer = ask(2);
  for (let offset = 6; offset < 600; offset += 1) receive(push('todo', offset - 1, change(offset, 7)));
  answer('todo/7', 5);
  assert.deepEqual(got(2), [lost('todo/7')]);
});

test('a room is left when no core is in it, and after the requests in flight', () => {
  const {shared, members, sent, send, ask, join} = connected();
  join(1, 'todo');
  join(2, 'todo');
  send(1, '42["unsubscribe","todo"]');
  assert.deepEqual(sent, []);
  const answer = ask(0);
  shared.leave(members[2].member);
  assert.deepEqual(sent, []);
  answer('note', 5);
  assert.deepEqual(sent, ['42["unsubscribe","todo"]']);
});

test('a room that is read again in the meantime is not left, and that of a core that is gone is', () => {
  const {shared, members, sent, send, ask, join} = connected();
  join(1, 'todo');
  const answers = [ask(0), ask(2)];
  send(1, '42["unsubscribe","todo"]');
  answers[0]('todo', 5);
  shared.leave(members[2].member);
  answers[1]('note', 5, false);
  assert.deepEqual(sent, ['42["unsubscribe","note"]']);
});

test('requests beyond those that the server allows wait, except probes', () => {
  const {shared, members, sent, receive, send} = connected();
  for (let ack = 1; ack <= 202; ack += 1) send(1 + ack % 2, `42${ack}["put",{"url":"/${ack}"}]`);
  assert.equal(sent.length, 200);
  send(1, '420["resume",[]]');
  assert.equal(sent.at(-1), '42201["resume",[]]');
  shared.leave(members[2].member);
  receive('43201[[]]');
  receive('431[{}]');
  receive('432[{}]');
  assert.deepEqual(sent.slice(201), ['42202["put",{"url":"/202"}]'], 'not that of the core that is gone');
});

test('frames of a core that is gone are not sent, and it gets none', () => {
  const {shared, members, socket, sent, receive, send, got, join} = connected();
  join(1, 'todo');
  send(1, '427["get",{"url":"/a"}]');
  sent.pop();
  shared.leave(members[1].member);
  send(1, '428["put",{"url":"/b"}]');
  receive('432[{}]');
  receive('2');
  assert.deepEqual([sent, got(1)], [['42["unsubscribe","todo"]', '3'], []]);
  shared.end();
  assert.deepEqual([socket.isClosed, socket.onmessage], [true, null]);
});
