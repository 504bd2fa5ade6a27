// The npm package, installed in small projects
// --------------------------------------------

import assert from 'node:assert/strict';
import {readFile, rm} from 'node:fs/promises';
import {join} from 'node:path';
import {after, before, describe, test} from 'node:test';

import {startBrowser} from './browser.mjs';
import {copyFiles, install, makeProject, run, tool} from './project.mjs';
import {projects} from './projects.mjs';
import {startServer} from './server.mjs';

const TIMEOUT = {timeout: 300_000};
const TYPED = ['@types/backbone', '@types/jquery', '@types/underscore', '@types/sizzle'];

describe('package', TIMEOUT, () => {
  let packed;
  before(async () => { packed = await install(); });
  after(() => rm(packed.folder, {recursive: true}));

  test('tarball has the files of the package, and no others', () => {
    const parts = ['debug', 'extra', 'live', 'polling', 'queries', 'shared', 'status'].map(name => `backwire.${name}.js`);
    const builds = [...parts, 'backwire.js', 'backwire.mjs', 'backwire.umd.js', 'testing.js', 'testing.mjs', 'backbone.js', 'backbone.mjs'];
    const types = ['backwire', 'testing', 'backbone'].flatMap(name => [`${name}.d.ts`, `${name}.d.mts`]);
    assert.deepEqual(packed.files.sort(), [...builds, ...types, 'LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'package.json'].sort());
  });

  test('publint and attw find nothing', TIMEOUT, async () => {
    const [published, typed] = await Promise.all([
      run(tool('publint'), ['run', packed.tarball, '--strict']), run(tool('attw'), [packed.tarball, '--format', 'json'])
    ]);
    assert.match(published, /All good/);
    assert.deepEqual(JSON.parse(typed).problems, {});
  });

  test('Node imports the package where there is no page, and both kinds of modules', TIMEOUT, async () => {
    const project = await makeProject(packed, 'node', {'main.mjs': NODE, 'main.cjs': NODE.replace(/^import (\w+) from ('.*')/gm, 'const $1 = require($2)').replace(/^import (\{.*\}) from ('.*')/gm, 'const $1 = require($2)')});
    for (const file of ['main.mjs', 'main.cjs']) assert.equal(await run(process.execPath, [file], project), 'offline Milk,Eggs\n', file);
  });

  test('documented test of an app passes', TIMEOUT, async () => {
    const page = await readFile(new URL('../../docs/how-to/test-your-app.md', import.meta.url), 'utf8');
    const [app, tests] = [...page.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code);
    const project = await makeProject(packed, 'documented', {'todos.mjs': app, 'todos.test.mjs': tests.replace('./todos.js', './todos.mjs')});
    const printed = await run(process.execPath, ['--test', '--test-reporter=tap', 'todos.test.mjs'], project);
    assert.match(printed, /# pass 4\n# fail 0/);
  });

  for (const [name, module, moduleResolution, file] of [
    ['an ES module of Node', 'node16', 'node16', 'main.mts'], ['a CommonJS module of Node', 'node16', 'node16', 'main.cts'], ['a bundler', 'esnext', 'bundler', 'main.ts']
  ]) {
    for (const hasTypes of [false, true]) {
      test(`types are correct in ${name} ${hasTypes ? 'with' : 'without'} @types/backbone`, TIMEOUT, async () => {
        const source = TYPES + (hasTypes ? TYPES_WITH_BACKBONE : '');
        const project = await makeProject(packed, `types ${file} ${hasTypes}`, {
          [file]: file === 'main.cts' ? withRequire(source) : source,
          'tsconfig.json': JSON.stringify({compilerOptions: {strict: true, noEmit: true, target: 'es2022', module, moduleResolution, lib: ['es2022', 'dom'], types: [], esModuleInterop: true}, files: [file]})
        }, hasTypes ? TYPED : []);
        await run(tool('tsc'), ['--project', '.'], project);
      });
    }
  }

  test('apps are live in Chromium', TIMEOUT, async t => {
    for (const [name, {files, build}] of Object.entries(projects)) {
      const project = await makeProject(packed, name.replaceAll(' ', '-'), files);
      await copyFiles(project, 'backbone/backbone.js', 'underscore/underscore-umd.js', 'requirejs/require.js');
      if (build) await run(tool(build[0]), build.slice(1), project);
    }
    const origin = await startServer(t, '--static', packed.folder);
    const browser = await startBrowser(t);
    for (const [index, [name, {path = 'index.html'}]] of Object.entries(projects).entries()) {
      await t.test(name, async () => {
        await browser.open(`${origin}/${name.replaceAll(' ', '-')}/${path}`);
        assert.deepEqual(await browser.run(useApp, `/todo${index}`), {titles: ['Milk', 'Eggs'], state: 'online', overHttp: 0});
      });
    }
  });
});

// A CommonJS module in TypeScript.
function withRequire(source) {
  return source.replace(/^import (?:(\w+), )?(\{.*\}) from ('.*');/gm, (_, value, names, from) => {
    const types = names.replace(/type /g, '');
    return value ? `import type ${types} from ${from}; import ${value} = require(${from});` : `import ${names} from ${from};`;
  }).replace(/^import (\w+) from ('.*');/gm, 'import $1 = require($2);');
}

// Runs in the page: the app creates a record, and somebody else another one.
async function useApp(url) {
  const until = async condition => { while (!condition()) await new Promise(resolve => { requestAnimationFrame(resolve); }); };
  await until(() => window.app);
  const {Backbone, Backwire} = window.app;
  const todos = new (Backbone.Collection.extend({url}))();
  await new Promise((success, error) => todos.fetch({success, error}));
  await new Promise((success, error) => todos.create({title: 'Milk'}, {success, error}));
  await fetch(url, {method: 'POST', headers: {'content-type': 'application/json'}, body: '{"title":"Eggs"}'});
  await until(() => todos.length === 2);
  const overHttp = performance.getEntriesByType('resource').filter(({initiatorType}) => initiatorType === 'xmlhttprequest').length;
  return {titles: todos.pluck('title'), state: Backwire.status.state, overHttp};
}

const NODE = `import Backbone from 'backbone';
import Backwire from 'backwire';
import {fakeServer} from 'backwire/testing';

const {state} = Backwire.status;
const server = fakeServer({todo: [{id: 1, title: 'Milk'}]});
if (server.install(Backbone) !== Backwire) throw new Error('two copies of Backwire');
const todos = new (Backbone.Collection.extend({url: '/todo'}))();
todos.fetch();
server.settled().then(() => {
  server.create('todo', {title: 'Eggs'});
  return server.settled();
}).then(() => {
  console.log(state, String(todos.pluck('title')));
  server.close();
});
`;

const TYPES = `import Backwire, {type Backwire as Api, type BackboneLike, type ConnectOptions, type Deliveries, type Events, type Fetchable, type InstallOptions, type LiveOption, type PendingWrite, type RealtimeOption, type Refused, type Rejected, type Status, type Token, type Undelivered, type WaitingWrite, type Write} from 'backwire';
import {fakeServer, type FakeRequest, type FakeResponse, type FakeServer, type MatchedRequest} from 'backwire/testing';

declare const Library: BackboneLike;
const options: InstallOptions = {url: '/', connect: false, identity: 7, site: 'shop', token: (async reason => reason ?? 'new') satisfies Token, bind: {store: 'todo'}, realtime: 'optin', fallback: 'ajax', adopt: {a: '/a'}};
const api: Api = Backwire.install(Library, options);
const connect: ConnectOptions = {token: 'new', identity: 'x'};
api.connect(connect).disconnect().clear().uninstall();
api.on('status', ({state, unsent}: Status) => console.log(state, unsent)).once('refused', ({reason}: Refused) => console.log(reason));
api.on('queued', ({write, model}: WaitingWrite) => console.log(write.url, model)).on('lost', (write: Write) => console.log(write.body));
api.on('rejected', ({status}: Rejected) => console.log(status)).on('undelivered', ({event}: Undelivered) => console.log(event)).off();
const names: (keyof Events)[] = ['status', 'queued', 'saved', 'lost', 'rejected', 'undelivered', 'refused', 'unauthorized'];
const socket: Deliveries = api.socket.on('news', (text: string) => console.log(text, names));
socket.ignore('noise');
const target: Fetchable = {fetch(options?: RealtimeOption & LiveOption) { return options; }};
const pending: PendingWrite[] = api.stop(target).pending();
console.log(api.isPending(target), pending, window.Backwire.status);

const server: FakeServer = fakeServer({todo: [{id: 1}]}, {url: 'http://app.test', prefix: '/api'});
const answer: FakeResponse = {status: 422, body: {}, headers: {etag: 'x'}};
server.respond('post', '/todo', answer, {once: true}).respond('*', /x/, async ({params, body}: MatchedRequest) => (params.id ? body : 404));
server.respond('get', '/todo', () => {}).push('news', 1).drop().restore().reset();
const requests: readonly FakeRequest[] = server.requests;
server.install(Library, options).status.state satisfies string;
server.settled().then(it => it.close());
console.log(requests, server.create('todo', {}).id, server.update('todo', 1, {}), server.destroy('todo', '1'), server.records('todo').length, server.url);
// @ts-expect-error: there is no such method.
server.respond('fetch', '/todo', 200);
// @ts-expect-error: there is no such option.
Backwire.install(Library, {transport: 'http'});
`;
const TYPES_WITH_BACKBONE = `
import Backbone from 'backbone';
import 'backwire/backbone';

Backwire.install(Backbone, {url: '/'});
class Todo extends Backbone.Model { realtime = false; }
const Todos = Backbone.Collection.extend({url: '/todo', model: Todo, live: false});
const todos: Backbone.Collection = new Todos();
todos.fetch({live: false, realtime: true});
todos.create({title: 'x'}, {realtime: false});
todos.at(0).fetch({live: false});
todos.at(0).destroy({realtime: false});
console.log(Backwire.isPending(todos), Backwire.stop(todos.at(0)));
// @ts-expect-error: the option is a boolean.
todos.fetch({live: 'no'});
`;
