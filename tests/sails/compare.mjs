// Sails 1.5 and Backwire with `compat: sails`, step by step
// ---------------------------------------------------------
//
// Random requests over HTTP and over the sockets of unmodified versions of sails.io.js, with a
// WebSocket or polling, go to both servers. Statuses, answers and pushes are compared. In some
// stories both servers require CSRF tokens. Each difference has to have a reason in
// `differences.mjs` or `pushes.mjs`.
//
// `BACKWIRE_SEED` repeats a run. `STEPS` is the number of steps. `SHOW=1` prints the known
// differences, too, `SHOW=2` whole answers, and `SHOW=3` the steps before.

import {spawn} from 'node:child_process';
import {createRequire} from 'node:module';
import {createServer} from 'node:net';
import {fileURLToPath} from 'node:url';
import {explain, explainBody} from './differences.mjs';
import {planted} from './planted.mjs';
import {idsIn} from './pushes.mjs';
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

  // All records, with their associated records.
  async records() {
    const read = async model => [model, (await this._overHttp('get', `/${model}?limit=1000`)).body];
    return Object.fromEntries(await Promise.all(MODELS.map(read)).catch(() => this.ended));
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

// Returns the parts that are compared: times and the messages of errors are not.
function comparable({status, body, pushes}) {
  return plain({status, body: status >= 400 ? body?.code ?? body : body, pushes});
}

function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (!value || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map(name => [name, /^(created|updated)At$/.test(name) && value[name] > 1e12 ? 'a time' : plain(value[name])]));
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
  const totals = {steps: 0, distinct: new Set(), same: 0, different: 0, known: new Map(), unknown: [], shown: [], planted: 0, unnoticed: [], random: new Random(seed), crashes: 0};
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
  const [, ours] = parties;
  try {
    await Promise.all(parties.map(party => party.connect(setting)));
    const world = {random, hasCsrf: setting.hasCsrf, before: [], records: plain(await ours.records())};
    for (let step = 0; step < STEPS_PER_STORY; step++) {
      if (!await comparedStep(parties, world, totals)) return;
    }
    await compareRecords(parties, world, totals);
  } finally {
    for (const party of parties) {
      party.disconnect();
      party.kill?.();
    }
  }
}

// Runs a step on both servers. Returns whether they are in the same state after it.
async function comparedStep([theirs, ours], world, totals) {
  const next = nextStep(world);
  const [sails, backwire] = (await Promise.all([theirs.run(next), ours.run(next)])).map(comparable);
  totals.steps++;
  totals.distinct.add(JSON.stringify([next.by === 'http', next.method, next.url, next.data, next.headers, next.token]));
  const {before} = world;
  const records = {before: world.records, after: plain(await ours.records())};
  const context = {step: next, before, records};
  const {reasons, unknown, isSameState} = explain(sails, backwire, context);
  plant(totals, sails, backwire, context);
  before.push({step: next, sails, existing: idsIn(records.before)});
  world.records = records.after;
  count(totals, {step: next, sails, backwire, reasons, unknown, before: before.slice()});
  return isSameState;
}

// Plants wrong values in an answer of Backwire, one at a time, to see whether they are noticed.
function plant(totals, sails, backwire, context) {
  for (const {what, answer} of planted(backwire, sails, totals.random)) {
    const isNoticed = explain(sails, answer, context).unknown.length > 0;
    totals.planted++;
    if (!isNoticed) totals.unnoticed.push({step: context.step, what, sails, backwire});
  }
}

// Compares all records after the last step of a story.
async function compareRecords([theirs, ours], world, totals) {
  const [sails, backwire] = (await Promise.all([theirs.records(), ours.records()])).map(plain);
  const {reasons, unknown} = explainBody(sails, backwire, {step: {method: 'get', url: '/'}, before: world.before, now: {step: {url: '/'}, existing: idsIn(world.records)}});
  for (const reason of reasons) totals.known.set(reason, (totals.known.get(reason) ?? 0) + 1);
  if (unknown.length) totals.unknown.push({step: 'all records after the story', sails, backwire, unknown, before: world.before});
}

function count(totals, found) {
  const {reasons, unknown} = found;
  if (unknown.length) totals.unknown.push(found);
  else if (reasons.size) {
    totals.different++;
    totals.shown.push(found);
  } else totals.same++;
  for (const reason of reasons) totals.known.set(reason, (totals.known.get(reason) ?? 0) + 1);
}

function report(totals) {
  const {steps, distinct, same, different, known, unknown, planted, unnoticed, crashes} = totals;
  const percent = (100 * (steps - same) / steps).toFixed(1);
  console.log(`${steps} steps, ${distinct.size} of them distinct: ${same} the same, ${different} of known differences, ${unknown.length} of others (${percent} %); Sails has crashed ${crashes} times`);
  console.log(`${planted - unnoticed.length} of ${planted} planted wrong answers were noticed`);
  for (const [reason, count] of known) console.log(`  ${count} × ${reason}`);
  for (const found of unknown) print('unknown', found, found.unknown);
  for (const found of unnoticed) print('unnoticed', found, [found.what]);
  if (process.env.SHOW) for (const found of totals.shown) print('known', found, [...found.reasons]);
  const isTooDifferent = unknown.length || steps - same > steps * 0.05;
  if (isTooDifferent || unnoticed.length || distinct.size < Math.min(400, steps / 2)) process.exitCode = 1;
}

function print(kind, {step, sails, backwire, before}, what) {
  console.log(kind, JSON.stringify(step));
  for (const it of what) console.log('   ', JSON.stringify(it));
  if (process.env.SHOW >= '2') console.log('    Sails', JSON.stringify(sails), '\n    Backwire', JSON.stringify(backwire));
  if (process.env.SHOW >= '3') for (const it of before ?? []) console.log('      ', JSON.stringify({step: it.step, sails: it.sails}));
}

await main();
