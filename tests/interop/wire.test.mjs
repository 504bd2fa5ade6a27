// The frames in `tests/wire`, as the parser of socket.io-client 4.8 reads them
// -----------------------------------------------------------------------------

import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {test} from 'node:test';
import {CREATED, DESTROYED, IDEMPOTENCY_KEY, LEFT, PUSH, RESUME, UPDATED} from '../../js-shim/src/wire.js';

// The client's own parsers, whatever else of theirs is installed.
const requireOf = (require, name) => createRequire(require.resolve(name));
const requireOfClient = requireOf(createRequire(import.meta.url), 'socket.io-client');
const {Decoder, Encoder, PacketType} = requireOfClient('socket.io-parser');
const {decodePacket} = requireOf(requireOfClient, 'engine.io-client')('engine.io-parser');

const frames = name => JSON.parse(readFileSync(new URL(`../wire/${name}.json`, import.meta.url)));

// Parses a frame, and checks that the client would write it in the same way.
function packetOf(frame) {
  const {type, data} = decodePacket(frame, 'arraybuffer');
  assert.equal(type, 'message');
  assert.deepEqual(new Encoder().encode(parse(data)), [data]);
  return parse(data);
}

function parse(text) {
  let packet;
  const decoder = new Decoder();
  decoder.on('decoded', decoded => { packet = decoded; });
  decoder.add(text);
  return packet;
}

const NUMBERS = {created: CREATED, updated: UPDATED, destroyed: DESTROYED, left: LEFT};
const list = ({offset, verb, id, data, mark}) => [offset, NUMBERS[verb], id, data, mark];

for (const {name, frame, means} of frames('pushes')) {
  test(`push: ${name}`, () => {
    const {type, id, data} = packetOf(frame);
    assert.deepEqual([type, id], [PacketType.EVENT, undefined]);
    assert.deepEqual(data, [PUSH, means.room, means.epoch, means.prev, means.changes.map(list)]);
  });
}

for (const {name, frame, means} of frames('user-events')) {
  test(`event for the user: ${name}`, () => {
    const changes = means.events.map(({id, content}) => [0, 0, id, content, 0]);
    assert.deepEqual(packetOf(frame).data, [PUSH, '', 0, 0, changes]);
  });
}

for (const {name, request, reply, means} of frames('requests')) {
  test(`request and reply: ${name}`, () => {
    const {ack, verb, url, key, headers, data, reply: answer} = means;
    const asked = packetOf(request);
    assert.deepEqual([asked.type, asked.id], [PacketType.EVENT, ack]);
    const [event, payload] = asked.data;
    const named = {...key && {[IDEMPOTENCY_KEY]: key}, ...headers};
    assert.deepEqual([event, payload.url, payload.headers ?? {}, payload.data ?? null], [verb, url, named, data]);
    const answered = packetOf(reply);
    assert.deepEqual([answered.type, answered.id], [PacketType.ACK, ack]);
    const [{statusCode: status, headers: carried, body = null}] = answered.data;
    assert.deepEqual({status, headers: carried, body}, answer);
  });
}

for (const {name, request, answer, means: {ack, rooms}} of frames('resumes')) {
  test(`resume: ${name}`, () => {
    const asked = packetOf(request);
    assert.deepEqual([asked.type, asked.id], [PacketType.EVENT, ack]);
    const entry = ({room, epoch, offset, ahead}) => {
      const own = ahead.find(([of]) => of === epoch)?.[1] ?? offset;
      return [room, epoch, offset, own, ...ahead.filter(([of]) => of !== epoch).flat()];
    };
    assert.deepEqual(asked.data, [RESUME, rooms.map(entry)]);
    const answers = rooms.map(({room, answer: missed}) =>
      missed ? [room, missed.epoch, missed.head, missed.changes.map(list)] : [room, null]);
    const answered = packetOf(answer);
    assert.deepEqual([answered.type, answered.id, answered.data], [PacketType.ACK, ack, [answers]]);
  });
}
