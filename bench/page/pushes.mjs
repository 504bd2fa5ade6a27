// The cost of applying pushes, beside Backbone's `collection.set` of the same records.
//
//     node bench/page/pushes.mjs [rounds]
//
// The runtime is the one of a page, with its real core; only the server is a fake. Both sides have
// the same Backbone, the same models and the same listeners, and take turns. The first rounds warm
// them up.

import { createRequire } from "node:module";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { PARTS } from "../../js-shim/src/all-parts.js";
import { makeBackwire } from "../../js-shim/src/backwire.js";
import { makeCore } from "../../js-shim/src/wasm.js";
import { printHead, printRow, median } from "./report.mjs";
import { framesOf, socketOf } from "./server.mjs";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc");
const require = createRequire(import.meta.url);
const Backbone = require("backbone");
const plainSync = Backbone.sync;

const CREATED = 1;
const UPDATED = 2;
const PUSHES = 1_000;
const WARM_UP = 30;
// Each round is the median of as many bursts.
const BURSTS = 9;
const BUDGET = 1.2;

const ROUNDS = Number(process.argv[2] ?? 7);

const ids = Array.from({ length: PUSHES }, (_, at) => at + 1);
const recordOf = id => ({ id, title: `Title ${id}`, done: false, rank: id });
const updatedOf = id => ({ ...recordOf(id), rank: -id });

const isOld = { creates: () => false, updates: () => true, "creates and updates": id => id % 2 };

const Todo = Backbone.Model.extend({ urlRoot: "/todo" });
const Todos = Backbone.Collection.extend({ url: "/todo", model: Todo });

// The listeners of a page with a view for each record.
function listen(todos) {
  todos.on("add change remove update sort", () => { listen.events += 1; });
  return todos;
}
listen.events = 0;

class Burst {
  constructor(kind, areSeparate) {
    const isKnown = isOld[kind];
    this.areSeparate = areSeparate;
    this.before = ids.filter(isKnown).map(recordOf);
    // A push has the whole record, or the attributes that have changed.
    const changes = ids.map(id =>
      isKnown(id) ? { verb: UPDATED, id, data: { rank: -id } } : { verb: CREATED, id, data: recordOf(id) });
    this.frames = framesOf(changes, areSeparate);
    const records = ids.map(id => (isKnown(id) ? updatedOf(id) : recordOf(id)));
    this.texts = (areSeparate ? records.map(record => [record]) : [records]).map(it => JSON.stringify(it));
  }

  // Milliseconds of the runtime: with decoding, from the text of a frame, and without it, from the
  // call of the core with the changes of a frame.
  async ours() {
    const Socket = socketOf(this.before);
    let applying = 0;
    const core = makeCore((name, callback) => callback(PARTS[name]));
    const { makeClient } = core;
    const page = { WebSocket: Socket, location: { href: "http://app.test/" } };
    const Backwire = makeBackwire({
      ...core,
      makeClient(...args) {
        const listener = args.at(-1);
        const { deliver } = listener;
        listener.deliver = (...about) => {
          const start = performance.now();
          deliver(...about);
          applying += performance.now() - start;
        };
        return makeClient(...args);
      },
    }, page);
    Backwire.install(Backbone, { url: "http://app.test" });
    const todos = listen(new Todos());
    await new Promise((success, error) => todos.fetch({ success, error }));
    await settled();
    const { onmessage } = Socket.last;
    const start = performance.now();
    for (const data of this.frames) onmessage({ data });
    const decoded = performance.now() - start;
    this._check(todos);
    Backwire.uninstall();
    Backbone.sync = plainSync;
    return [decoded, applying];
  }

  // The same of `collection.set`.
  async plain() {
    const todos = listen(new Todos(structuredClone(this.before)));
    await settled();
    let setting = 0;
    const start = performance.now();
    for (const text of this.texts) {
      const records = JSON.parse(text);
      const parsed = performance.now();
      todos.set(records, { remove: false });
      setting += performance.now() - parsed;
    }
    const decoded = performance.now() - start;
    this._check(todos);
    return [decoded, setting];
  }

  _check(todos) {
    const right = todos.length === PUSHES && todos.get(2).get("rank") === (this.before.some(({ id }) => id === 2) ? -2 : 2);
    if (!right) throw new Error("the burst was not applied");
  }
}

// Lets the promises of the set-up run and collects its garbage, which is not part of the burst.
async function settled() {
  await new Promise(resolve => { setImmediate(resolve); });
  gc({ type: "minor" });
}

async function measure(burst, bursts) {
  const ours = [];
  const plain = [];
  for (let count = 0; count < bursts; count += 1) {
    ours.push(await burst.ours());
    plain.push(await burst.plain());
  }
  return [ours, plain].map(list => [0, 1].map(at => median(list.map(costs => costs[at]))));
}

printHead(`${PUSHES} pushes`);
for (const areSeparate of [false, true]) {
  for (const kind of Object.keys(isOld)) {
    const burst = new Burst(kind, areSeparate);
    await measure(burst, WARM_UP);
    const rounds = [];
    for (let round = 0; round < ROUNDS; round += 1) rounds.push(await measure(burst, BURSTS));
    const work = `${kind}, ${areSeparate ? "a frame each" : "one frame"}`;
    const peer = areSeparate ? "a `collection.set` each" : "one `collection.set`";
    ["with decoding", "without decoding"].forEach((what, at) => {
      const [ours, plain] = [0, 1].map(side => rounds.map(round => round[side][at]));
      printRow(`${work}, ${what}`, peer, ours, plain, areSeparate ? undefined : BUDGET);
    });
  }
}
process.exit(0);
