// The time from the first script of a page until its first request is sent, and until the answer is
// shown, beside a page with Socket.IO's own client.
//
//     node bench/page/startup.mjs [rounds]
//
// Each start has a thread of its own, so nothing is compiled or warm. The server is a fake in the
// same thread, and the scripts are in memory, so the times are those of the scripts only.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

import { median, printHead, printRow } from "./report.mjs";
import { socketOf } from "./server.mjs";

const require = createRequire(import.meta.url);
const ORIGIN = "http://app.test";
const RECORDS = Array.from({ length: 20 }, (_, at) => ({ id: at + 1, title: `Title ${at}`, done: false }));
const ROUNDS = Number(process.argv[2] ?? 7);
// Each round is the median of as many starts.
const STARTS = 5;

const textOf = path => readFileSync(path, "utf8");
const dist = name => new URL(`../../js-shim/dist/${name}`, import.meta.url);

// A page
// ------

// Runs a script of a page.
const run = (text, name) => (0, eval)(`${text}\n//# sourceURL=${name}`);

// The globals of a window that the scripts use.
function makePage(scripts, Socket) {
  const node = () => ({ setAttribute() {}, appendChild: child => child, style: {} });
  // The script of a part runs in a task of its own, as it arrives in a browser.
  const append = script => setImmediate(() => {
    run(scripts[new URL(script.src).pathname.slice(1)], script.src);
    script.onload();
  });
  const document = Object.assign(new EventTarget(), {
    baseURI: `${ORIGIN}/`, readyState: "complete", hidden: false, createElement: node, head: { append },
    currentScript: { src: `${ORIGIN}/backwire.js`, dataset: {} }, documentElement: node(),
  });
  const events = new EventTarget();
  Object.assign(globalThis, {
    window: globalThis, self: globalThis, document, WebSocket: Socket,
    location: { href: `${ORIGIN}/`, origin: ORIGIN, protocol: "http:", hostname: "app.test", port: "" },
    addEventListener: events.addEventListener.bind(events),
    removeEventListener: events.removeEventListener.bind(events),
  });
}

// Backbone's `sync` over Socket.IO, and live collections, as pages write them by hand.
const SNIPPET = `
  const socket = io("${ORIGIN}", { transports: ["websocket"] });
  Backbone.sync = (method, model, options) => {
    const names = { create: "post", read: "get", update: "put", delete: "delete" };
    socket.emit(names[method], { url: model.url, data: model.toJSON() }, ({ body }) => options.success(body));
  };
  socket.on("todo", ({ records }) => todos.set(records, { remove: false }));
`;

async function start({ side, scripts }) {
  let sentAt;
  const Socket = socketOf(RECORDS, frame => {
    if (frame.startsWith("42")) sentAt ??= performance.now();
  });
  makePage(scripts, Socket);
  run(scripts.underscore, "underscore.js");
  run(scripts.backbone, "backbone.js");
  const startedAt = performance.now();
  if (side === "ours") run(scripts["backwire.js"], "backwire.js");
  else {
    run(scripts.io, "socket.io.js");
    run(SNIPPET, "snippet.js");
  }
  const todos = globalThis.todos = new (Backbone.Collection.extend({ url: "/todo" }))();
  await new Promise((success, error) => todos.fetch({ success, error }));
  if (todos.length !== RECORDS.length) throw new Error("the page shows nothing");
  parentPort.postMessage([sentAt - startedAt, performance.now() - startedAt]);
}

// Measurement
// -----------

function measure(side, scripts) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { side, scripts } });
    worker.once("error", reject);
    worker.once("message", times => worker.terminate().then(() => resolve(times)));
  });
}

async function main() {
  const scripts = {
    underscore: textOf(require.resolve("underscore/underscore-umd-min.js")),
    backbone: textOf(require.resolve("backbone/backbone-min.js")),
    io: textOf(new URL("../../node_modules/socket.io-client/dist/socket.io.min.js", import.meta.url)),
  };
  for (const part of ["", ".live", ".queries", ".extra"]) scripts[`backwire${part}.js`] = textOf(dist(`backwire${part}.js`));
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const starts = { ours: [], theirs: [] };
    for (let count = 0; count < STARTS; count += 1) {
      for (const side in starts) starts[side].push(await measure(side, scripts));
    }
    rounds.push(["ours", "theirs"].map(side => [0, 1].map(at => median(starts[side].map(times => times[at])))));
  }
  printHead("start of a page");
  ["until the first request is sent", "until the answer is shown"].forEach((what, at) => {
    const [ours, theirs] = [0, 1].map(side => rounds.map(round => round[side][at]));
    printRow(what, "socket.io-client and a snippet", ours, theirs);
  });
  process.exit(0);
}

if (isMainThread) await main();
else await start(workerData);
