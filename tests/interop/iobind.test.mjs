// backbone.iobind 0.4.9, as npm has it, over today's Socket.IO client
// -------------------------------------------------------------------

import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {test} from 'node:test';
import vm from 'node:vm';
import {io} from 'socket.io-client';
import {realJquery} from '../../js-shim/fakes/jquery.js';
import {resource, server} from './client.mjs';
import {Pushes} from './pushes.mjs';

const require = createRequire(import.meta.url);
const _ = require('underscore');

// A page: its scripts find each other as globals.
async function page(t) {
  const socket = io(server, {transports: ['websocket'], forceNew: true, reconnection: false});
  t.after(() => socket.disconnect());
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('connect_error', reject));
  const globals = {_, jQuery: realJquery().$, io: socket};
  globals.self = globals.window = globals;
  globals.socket = socket;
  vm.createContext(globals);
  for (const script of [
    'backbone/backbone.js', 'backbone.iobind/dist/backbone.iosync.js', 'backbone.iobind/dist/backbone.iobind.js'
  ]) vm.runInContext(readFileSync(new URL(`../../node_modules/${script}`, import.meta.url), 'utf8'), globals);
  return globals.Backbone;
}

// Does something that takes Backbone's options, and waits for its outcome.
function outcome(deed) {
  return new Promise(resolve => deed({
    success: (model, answer) => resolve({answer}),
    error: (model, error) => resolve({error})
  }));
}

test('models are made, read, changed and destroyed', async t => {
  const Backbone = await page(t);
  const name = resource();
  const todo = new (Backbone.Model.extend({urlRoot: `/${name}`}))({title: 'Milk'});
  await outcome(options => todo.save(null, options));
  assert.equal(todo.id, 1);
  await outcome(options => todo.save({title: 'Oats'}, options));
  await outcome(options => todo.save({done: true}, {patch: true, ...options}));
  const same = new (Backbone.Model.extend({urlRoot: `/${name}`}))({id: 1});
  await outcome(options => same.fetch(options));
  assert.deepEqual([same.get('title'), same.get('done')], ['Oats', true]);
  const todos = new (Backbone.Collection.extend({url: `/${name}`}))();
  await outcome(options => todos.fetch(options));
  assert.deepEqual(todos.pluck('title'), ['Oats']);
  // Now that it has models, it sends them along.
  await outcome(options => todos.fetch(options));
  assert.equal(todos.length, 1);
  const {answer} = await outcome(options => todos.first().destroy(options));
  assert.equal(answer.title, 'Oats');
  await outcome(options => todos.fetch(options));
  assert.equal(todos.length, 0);
});

test('what others do is heard by what is bound to it', async t => {
  const [mine, others] = [await page(t), await page(t)];
  const name = resource();
  const todos = new (mine.Collection.extend({url: name}))();
  const heard = new Pushes(push => todos.ioBind('create', data => { todos.add(data); push('create', data.title); }));
  await outcome(options => todos.fetch(options));
  const todo = new (others.Model.extend({urlRoot: name}))({title: 'Milk'});
  await outcome(options => todo.save(null, options));
  await heard.count(1);
  const model = todos.get(1);
  const changes = new Pushes(push => {
    model.ioBind('update', data => { model.set(data); push('update', data.title); });
    model.ioBind('delete', data => { todos.remove(model); push('delete', data.title); });
  });
  await outcome(options => todo.save({title: 'Oats'}, options));
  await outcome(options => todo.destroy(options));
  assert.deepEqual(await changes.count(2), [['update', 'Oats'], ['delete', 'Oats']]);
  assert.equal(todos.length, 0);
});

test('a create of a collection is one model, because its author is not told of it', async t => {
  const [mine, others] = [await page(t), await page(t)];
  const name = resource();
  const todos = new (mine.Collection.extend({url: name}))();
  const heard = new Pushes(push => todos.ioBind('create', data => { todos.add(data); push(data.id); }));
  await outcome(options => todos.fetch(options));
  await outcome(options => todos.create({title: 'Milk'}, options));
  // Pushes come in commit order: one's own would come before this one.
  const other = new (others.Model.extend({urlRoot: name}))({title: 'Eggs'});
  await outcome(options => other.save(null, options));
  assert.deepEqual(await heard.count(1), [[2]]);
  assert.deepEqual(todos.pluck('id'), [1, 2]);
});

test('a refusal reaches the error callback', async t => {
  const Backbone = await page(t);
  const missing = new (Backbone.Model.extend({urlRoot: resource()}))({id: 9});
  const {error} = await outcome(options => missing.fetch(options));
  assert.deepEqual([error.status, error.code], [404, 'E_NOT_FOUND']);
});
