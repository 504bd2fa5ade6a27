// Sails 1.5 and Backwire with `compat: sails`, step by step
// ---------------------------------------------------------
//
// Random requests over HTTP and over the sockets of unmodified versions of sails.io.js, with a
// WebSocket or polling, go to both servers. Statuses, answers and pushes are compared. In some
// stories both servers require CSRF tokens. Each difference has to be one of `differences.mjs`.
//
// `BACKWIRE_SEED` repeats a run. `STEPS` is the number of steps. `SHOW=1` prints all differences,
// `SHOW=2` whole answers, and `SHOW=3` the steps before.

import {spawn} from 'node:child_process';
import {createRequire} from 'node:module';
import {createServer} from 'node:net';
import {fileURLToPath} from 'node:url';
import {isDeepStrictEqual} from 'node:util';
import {differences} from './differences.mjs';
import {Random} from './random.mjs';
import {nextStep} from './steps.mjs';

const require = createRequire(import.meta.url);
const CLIENTS = {
  '1.2.1': require('sails.io.js')(require('socket.io-client-2')).sails,
  '0.13.8': require('sails.io.js-0.13')(require('socket.io-client-1')).sails
};
for (const client of Object.values(CLIENTS)) Object.assign(client, {autoConnect: false, environment: 'production'});

const STEPS_PER_STORY = 40;

// A server has ended by itself: some requests crash Sails.
class Ended extends Error {}

// A server under test, with two sockets and a plain HTTP client.
class Party {
  constructor(name, url) {
    Object.assign(this, {name, url, sockets: [], cookie: '', token: '', ended: new Promise(() => {})});
  }

  // Connects two sockets, each with a version of the client and a transport.
  async connect({clients, hasCsrf}) {
    if (hasCsrf) await this._getToken();
    for (const [at, {version, transport, hasNoSession}] of clients.entries()) {
      const socket = CLIENTS[version].connect(this.url, {
        transports: [transport], multiplex: false, reconnection: false,
        initialConnectionHeaders: {...this.cookie && {cookie: this.cookie}, ...hasNoSession && {nosession: true}}
      });
      await new Promise((resolve, reject) => socket.on('connect', resolve).on('connect_error', reject));
      const pushes = [];
      for (const model of MODELS) socket.on(model, message => pushes.push([model, message]));
      const connection = {socket, pushes};
      socket.on('fence', () => connection.fenced?.());
      this.sockets.push(connection);
      await this._overSocket(at, 'get', '/fence');
    }
  }

  async _getToken() {
    const response = await fetch(`${this.url}/csrfToken`);
    [this.cookie] = response.headers.getSetCookie()[0].split(';');
    this.token = (await response.json())._csrf;
  }

  disconnect() {
    for (const {socket} of this.sockets) if (socket.isConnected()) socket.disconnect();
    this.sockets = [];
  }

  // The status, the body and the pushes of a step.
  run(step) {
    const late = new Promise((_, reject) => {
      this._timer = setTimeout(() => reject(new Error(`${this.name} sends no ${this._awaited} within 10 s: ${JSON.stringify(step)}`)), 10_000);
    });
    // A request that fails may be the first to show that the server has ended.
    const run = this._run(step).catch(() => this.ended);
    return Promise.race([run, this.ended, late]).finally(() => clearTimeout(this._timer));
  }

  async _run({by, form, token, ...request}) {
    for (const {pushes} of this.sockets) pushes.length = 0;
    this._awaited = 'answer';
    const {method, url, data, headers} = this._withToken(request, token);
    const answer = by === 'http' ? await this._overHttp(method, url, data, form, headers) : await this._overSocket(by, method, url, data, headers);
    await this._settle();
    return {...answer, pushes: this.sockets.map(({pushes}) => pushes.slice())};
  }

  // Adds the token of the story's session to a request, where the step wants it.
  _withToken(request, place) {
    const {url, data, headers} = request;
    const token = place === 'wrong' ? `${this.token}x` : this.token;
    const isBody = data === undefined || data && typeof data === 'object' && !Array.isArray(data);
    if (!this.token || !place || place === 'none') return request;
    if (place === 'body' && isBody) return {...request, data: {...data, _csrf: token}};
    if (place === 'query') return {...request, url: `${url}${url.includes('?') ? '&' : '?'}_csrf=${token}`};
    return {...request, headers: {...headers, 'x-csrf-token': token}};
  }

  async _overHttp(method, url, values, form, headers) {
    // A GET over HTTP has no body.
    const data = method === 'get' ? undefined : values;
    const kind = form ? 'application/x-www-form-urlencoded' : 'application/json';
    const body = data === undefined ? {} : form ? {body: data} : {body: JSON.stringify(data)};
    const all = {...data !== undefined && {'content-type': kind}, ...this.cookie && {cookie: this.cookie}, ...headers};
    const response = await fetch(this.url + encodeURI(url), {method: method.toUpperCase(), headers: all, ...body});
    const text = await response.text();
    return {status: response.status, body: parsed(text)};
  }

  _overSocket(by, method, url, data, headers) {
    return new Promise(resolve => this.sockets[by].socket.request({method, url, data, headers}, (body, jwr) => resolve({
      status: jwr.statusCode, body: typeof jwr.body === 'string' ? parsed(jwr.body) : jwr.body
    })));
  }

  // Both servers send pushes in the order of the writes. So the push of a new record comes after
  // all pushes of the step.
  async _settle() {
    this._awaited = 'push';
    const fenced = this.sockets.map(connection => new Promise(resolve => { connection.fenced = resolve; }));
    await this._overHttp('post', '/fence', {}, false, {'x-csrf-token': this.token});
    await Promise.all(fenced);
  }
}

const MODELS = ['user', 'pet', 'userprofile', 'person', 'animal', 'article', 'tag'];

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// What is compared: times and the words of errors are not.
function comparable({status, body, pushes}) {
  const isError = status >= 400;
  return plain({status, body: isError ? errorOf(body) : body, pushes: pushes.map(each => each.map(([model, push]) => [model, push]))});
}

function errorOf(body) {
  return typeof body === 'object' && body ? body.code : undefined;
}

function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (!value || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map(name => [name, /^(created|updated)At$/.test(name) && value[name] > 1e12 ? 'a time' : plain(value[name])]));
}

// The first place where two values differ: its path, and both values there.
function difference(a, b, path = '') {
  if (isDeepStrictEqual(a, b)) return null;
  const isPair = [a, b].every(it => it && typeof it === 'object') && Array.isArray(a) === Array.isArray(b);
  if (!isPair) return {path, sails: a, backwire: b};
  for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const found = difference(a[name], b[name], `${path}/${name}`);
    if (found) return found;
  }
}

async function freePort() {
  const server = createServer();
  await new Promise(resolve => server.listen(0, resolve));
  const {port} = server.address();
  await new Promise(resolve => server.close(resolve));
  return port;
}

async function sails({hasCsrf}) {
  const port = await freePort();
  const app = fileURLToPath(new URL('app.cjs', import.meta.url));
  const stdio = ['ignore', 'pipe', process.env.SHOW ? 'inherit' : 'ignore'];
  const child = spawn(process.execPath, [app], {env: {...process.env, PORT: port, CSRF: hasCsrf ? '1' : ''}, stdio});
  const party = new Party('Sails', `http://localhost:${port}`);
  party.ended = new Promise(resolve => child.once('exit', resolve)).then(() => { throw new Ended(party.name); });
  party.ended.catch(() => {});
  party.kill = () => child.kill('SIGKILL');
  const started = new Promise(resolve => child.stdout.on('data', data => String(data).includes('READY') && resolve()));
  await Promise.race([started, party.ended]);
  return party;
}

// The story that runs this script starts the server.
async function backwire({hasCsrf}) {
  const answer = await fetch(process.env.BACKWIRE_STARTER, {method: 'POST', body: hasCsrf ? 'csrf' : ''});
  return new Party('Backwire', await answer.text());
}

async function main() {
  const seed = Number(process.env.BACKWIRE_SEED ?? Math.floor(Math.random() * 2 ** 32));
  const count = Number(process.env.STEPS ?? 520);
  console.log(`BACKWIRE_SEED=${seed}`);
  const random = new Random(seed);
  const totals = {steps: 0, distinct: new Set(), same: 0, known: new Map(), unknown: [], crashes: 0};
  while (totals.steps < count) {
    try {
      await story(random, totals);
    } catch (error) {
      if (!(error instanceof Ended && error.message === 'Sails')) throw error;
      totals.crashes++;
    }
  }
  report(totals);
}

async function story(random, totals) {
  const setting = {
    clients: [0, 1].map(() => ({
      version: random.pick(Object.keys(CLIENTS)), transport: random.pick(['websocket', 'polling']), hasNoSession: random.chance(0.2)
    })),
    hasCsrf: random.chance(0.25)
  };
  const parties = await Promise.all([sails(setting), backwire(setting)]);
  const [theirs, ours] = parties;
  try {
    await Promise.all(parties.map(party => party.connect(setting)));
    const world = {random, hasCsrf: setting.hasCsrf};
    const before = [setting];
    for (let step = 0; step < STEPS_PER_STORY; step++) {
      const next = nextStep(world);
      const [expected, got] = (await Promise.all([theirs.run(next), ours.run(next)])).map(comparable);
      totals.steps++;
      totals.distinct.add(JSON.stringify([next.by === 'http', next.method, next.url, next.data, next.headers, next.token]));
      before.push([next, expected]);
      // The errors of Sails that are text have no code.
      if (expected.status >= 400 && expected.body === undefined) delete got.body;
      const found = difference(expected, got);
      if (!found) {
        totals.same++;
        continue;
      }
      const known = differences.find(({is}) => is(next, found, expected, got));
      if (known) totals.known.set(known, (totals.known.get(known) ?? 0) + 1);
      else totals.unknown.push({next, found, expected, got, before: before.slice()});
      // Later steps would differ because of this one. A read over a socket that only one of the
      // servers refuses subscribes the socket at the other one.
      const mayChange = next.method !== 'get' || (expected.status < 400) !== (got.status < 400);
      if (mayChange && !found.path.startsWith('/pushes')) break;
    }
  } finally {
    for (const party of parties) {
      party.disconnect();
      party.kill?.();
    }
  }
}

function report({steps, distinct, same, known, unknown, crashes}) {
  console.log(`${steps} steps, ${distinct.size} of them distinct: ${same} the same, ${steps - same - unknown.length} of known differences, ${unknown.length} of others; Sails has crashed ${crashes} times`);
  for (const [{about}, count] of known) console.log(`  ${count} × ${about}`);
  for (const {next, found, expected, got, before} of unknown.slice(0, process.env.SHOW ? Infinity : 20)) {
    console.log(JSON.stringify(next));
    console.log('   ', found.path, 'Sails', JSON.stringify(found.sails), 'Backwire', JSON.stringify(found.backwire));
    if (process.env.SHOW >= '2') console.log('    Sails', JSON.stringify(expected), '\n    Backwire', JSON.stringify(got));
    if (process.env.SHOW === '3') for (const it of before) console.log('      ', JSON.stringify(it));
  }
  if (unknown.length || (steps - same) > steps * 0.05 || distinct.size < Math.min(400, steps / 2)) process.exitCode = 1;
}

await main();
