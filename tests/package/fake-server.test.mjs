// The fake server of `backwire/testing` beside the real one
// ---------------------------------------------------------
//
// Both get the same random requests, and give the same answers and pushes. `BACKWIRE_SEED` repeats
// a program.

import assert from 'node:assert/strict';
import {test} from 'node:test';
import {WebSocket} from 'ws';

import {fakeServer} from '../../js-shim/testing/index.js';
import {Client} from './client.mjs';
import {nextRequest, randomFrom} from './random.mjs';
import {startServer} from './server.mjs';

const PROGRAMS = 4;
const REQUESTS = 60;
const first = Number(process.env.BACKWIRE_SEED ?? Date.now() % 2 ** 31);

for (let number = 0; number < (process.env.BACKWIRE_SEED ? 1 : PROGRAMS); number++) {
  const seed = first + number;
  test(`fake server answers and pushes as the real one does (BACKWIRE_SEED=${seed})`, {timeout: 120_000}, async t => {
    const fake = fakeServer({todo: []});
    t.after(() => fake.close());
    const pair = new Pair([globalThis.WebSocket, fake.url], [WebSocket, await startServer(t)]);
    t.after(() => pair.close());
    const random = randomFrom(seed);
    const former = [];
    for (let count = 0; count < REQUESTS; count++) {
      const request = nextRequest(random, former, count);
      former.push(request);
      await pair.request(request);
      if (random(8) === 0) await pair.resume(random);
    }
    await pair.resume(random, true);
  });
}

// The clients of both servers, and what they have been told.
class Pair {
  constructor(...servers) {
    this._clients = servers.map(server => new Client(...server));
    this._others = servers;
    // The names of each room on both servers.
    this._rooms = new Map();
    // The position of each room on both servers.
    this._positions = new Map();
    this._head = 0;
  }

  close() {
    for (const client of this._clients) client.close();
  }

  async request([verb, url, data, key]) {
    const asked = {url, ...data !== undefined && {data}, ...key && {headers: {'idempotency-key': key}}};
    const answers = await Promise.all(this._clients.map(client => client.ask(verb, asked)));
    const where = JSON.stringify([verb, asked]);
    assert.deepEqual(comparable(answers[0]), comparable(answers[1]), where);
    const positions = answers.map(({headers}) => positionOf(headers));
    if (positions[0]) this._head = Math.max(this._head, positions[0][1]);
    const names = answers.map(({headers}) => headers['backwire-room']);
    if (names[0]) this._joined(names, positions, where);
    await this._comparePushes(where);
  }

  _joined(names, positions, where) {
    const known = [...this._rooms.values()].find(([name]) => name === names[0]);
    if (known) assert.deepEqual(names, known, `${where}: another room`);
    this._rooms.set(names[0], names);
    this._positions.set(names[0], positions);
  }

  // Both have pushed the same in each room. The real server may send several changes in one frame.
  async _comparePushes(where) {
    for (const [fakeName, realName] of this._rooms.values()) {
      const [fake, real] = this._clients;
      await real.until(realName, fake.lastOf(fakeName));
      assert.deepEqual(changesOf(real.pushes.get(realName)), changesOf(fake.pushes.get(fakeName)), `${where}: pushes of ${fakeName}`);
    }
  }

  // Resumes all rooms from a former position, on the same connections or on others.
  async resume(random, isElsewhere = false) {
    if (isElsewhere) {
      this.close();
      this._clients = this._others.map(server => new Client(...server));
    }
    const rooms = [...this._rooms.values()];
    const entries = side => rooms.map(names => [names[side], ...this._positions.get(names[0])[side]]);
    const answers = await Promise.all(this._clients.map((client, side) => client.ask('resume', entries(side))));
    const told = answers.map(answer => answer.map(([, epoch, head, changes]) => (epoch === null ? null : {head, changes: changes.map(comparableChange)})));
    assert.deepEqual(told[0], told[1], `resume of ${JSON.stringify(entries(0))}`);
  }
}

const positionOf = headers => headers['backwire-position']?.split(':').map(Number);

function changesOf(pushes = []) {
  // Of a part, how often it was announced is up to the server.
  if (pushes.every(([, changes]) => !changes.length)) return pushes.at(-1)?.[0];
  let previous = pushes[0][0];
  return pushes.flatMap(([before, changes]) => {
    assert.equal(before, previous, 'each push follows the last one');
    previous = changes.at(-1)[0];
    return changes.map(comparableChange);
  });
}

function comparableChange([offset, verb, id, data, mark]) {
  return [offset, verb, id, withoutTimes(data), mark];
}

// The parts of an answer that do not depend on the server: the epoch, the times and the names of
// rooms do. The real server says that a resource is not declared.
function comparable({statusCode, body, headers}) {
  const position = positionOf(headers)?.[1];
  const query = headers['backwire-query']?.replace(';undeclared', '');
  const {'backwire-room': room, allow, ...others} = headers;
  const refused = body?.code ? {code: body.code, field: body.field} : undefined;
  return {statusCode, body: refused ?? withoutTimes(body), ...others, 'backwire-position': position, 'backwire-query': query, hasRoom: room !== undefined};
}

function withoutTimes(value) {
  if (Array.isArray(value)) return value.map(withoutTimes);
  if (!value || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, /^(created|updated)At$/.test(name) ? typeof each : each]));
}
