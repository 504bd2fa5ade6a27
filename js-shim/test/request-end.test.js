// End of every request
// --------------------

import assert from 'node:assert/strict';
import {mock, test} from 'node:test';

import {ajax} from '../src/ajax.js';
import {realJquery} from '../fakes/jquery.js';
import {fakePage, lateParts, start, startWithTodos} from '../fakes/page.js';

const items = page => Object.values(page.localStorage).map(item => JSON.parse(item));

// Collects what the runtime reports as uncaught errors.
function reported(context) {
  const errors = [];
  globalThis.reportError = error => errors.push(error.message);
  context.after(() => { delete globalThis.reportError; });
  return errors;
}

test('saves that wait for a create are sent over HTTP with it where only HTTP serves the path', () => {
  const {Backbone, client, page} = start({$: realJquery().$});
  const seen = [];
  const note = new (Backbone.Model.extend({urlRoot: '/note'}))({title: 'Milk'});
  note.save({}, {success: () => seen.push('first')});
  note.save({title: 'Oat milk'}, {success: () => seen.push('second')});
  client.answer(404, {code: 'E_NOT_FOUND'}, {'backwire-transport': 'http'});
  assert.deepEqual(page.xhrs.map(({method, body}) => [method, body.title]), [['POST', 'Milk'], ['POST', 'Oat milk']]);
  for (const xhr of page.xhrs) xhr.answer(200, {id: 1});
  assert.deepEqual(seen, ['first', 'second']);
});

test('saves that were merged into a create are sent over HTTP with it where only HTTP serves the path', () => {
  const {Backbone, client, page} = start({$: realJquery().$});
  const seen = [];
  const note = new (Backbone.Model.extend({urlRoot: '/note'}))({title: 'Milk'});
  client.tell('offline');
  note.save({}, {success: () => seen.push('first')});
  note.save({title: 'Oat milk'}, {success: () => seen.push('second')});
  client.tell('online');
  client.answer(404, {code: 'E_NOT_FOUND'}, {'backwire-transport': 'http'});
  for (const xhr of page.xhrs) xhr.answer(200, {id: 1});
  assert.deepEqual(seen, ['first', 'second']);
});

test('a page without the receiver sends each write once, those that wait included, and keeps none', context => {
  context.after(() => mock.restoreAll());
  mock.method(console, 'error', () => {});
  const {loadPart, load} = lateParts('live');
  const {Todo, page} = start({$: realJquery().$, loadPart});
  const seen = [];
  const todo = new Todo({title: 'Milk'});
  todo.save({}, {success: () => seen.push('first')});
  todo.save({title: 'Oat milk'}, {success: () => seen.push('second')});
  load('live', null);
  for (const xhr of page.xhrs) xhr.answer(201, {id: 1});
  assert.deepEqual(seen, ['first', 'second']);
  assert.deepEqual(items(page), []);
});

// The browser refuses headers with such characters, and the socket carries them.
function startWithStrictHeaders(options) {
  const page = fakePage();
  page.XMLHttpRequest.prototype.setRequestHeader = (name, value) => {
    if (/[^\0-\xff]/.test(value)) throw new TypeError('refused');
  };
  const all = start({$: realJquery().$, page, ...options});
  const ended = [];
  const read = (id, headers = {}) => new all.Todo({id}).fetch({headers, success: () => ended.push(`${id} success`), error: () => ended.push(`${id} error`)});
  return {...all, read, ended};
}

test('a request that only the socket can carry gets error where only HTTP serves the path', () => {
  const {client, read, ended} = startWithStrictHeaders();
  read(1, {'X-Name': 'Łukasz'});
  client.answer(404, {code: 'E_NOT_FOUND'}, {'backwire-transport': 'http'});
  assert.deepEqual(ended, ['1 error']);
});

test('a request that only the socket can carry does not keep back the others on a page without the receiver', context => {
  context.after(() => mock.restoreAll());
  mock.method(console, 'error', () => {});
  const {loadPart, load} = lateParts('live');
  const {read, ended, page} = startWithStrictHeaders({loadPart});
  read(1, {'X-Name': 'Łukasz'});
  read(2);
  load('live', null);
  for (const xhr of page.xhrs) xhr.answer(200, {id: 2});
  assert.deepEqual(ended, ['1 error', '2 success']);
});

test('a create and the saves that wait for it are kept as one write when Backwire is uninstalled', () => {
  const {Backwire, Todo, client, page} = start();
  client.tell('online');
  const todo = new Todo({title: 'Milk'});
  todo.save();
  todo.save({title: 'Oat milk'});
  client.tell('offline');
  const kept = items(page);
  assert.equal(kept.length, 1);
  Backwire.uninstall();
  assert.deepEqual(items(page), kept);
});

test('requests that wait for kept writes call error when Backwire is uninstalled', () => {
  const page = fakePage();
  const former = start({page});
  former.client.tell('offline');
  new former.Todo({id: 7}).save();
  former.Backwire.uninstall();
  const {loadPart, load} = lateParts('extra');
  const {Backwire, Todo, client} = start({page, $: realJquery().$, loadPart});
  const seen = [];
  new Todo({id: 8}).fetch({error: (_, xhr) => seen.push(xhr.statusText)});
  Backwire.uninstall();
  assert.deepEqual(seen, ['abort']);
  load('extra');
  assert.deepEqual(client.asked, []);
});

test('an aborted XMLHttpRequest calls error on pages without jQuery', () => {
  const seen = [];
  let xhr;
  const page = fakePage();
  ajax({url: '/todo', xhr: () => (xhr = new page.XMLHttpRequest()), error: (_, text) => seen.push(text)});
  xhr.abort();
  assert.deepEqual(seen, ['abort']);
});

test('a handler that throws does not keep back the saves that wait for a restored create', context => {
  const errors = reported(context);
  const page = fakePage();
  const former = startWithTodos({page});
  former.client.tell('offline');
  former.todos.create({title: 'Bread'});
  const {Todos, client} = start({page});
  client.tell('offline');
  const todos = new Todos();
  todos.fetch();
  return Promise.resolve().then(() => {
    const bread = todos.at(0);
    bread.on('change:id', () => { throw new Error('oops'); });
    client.tell('online');
    bread.save({title: 'Rye bread'});
    client.wrote('todo/3', 6, {id: 3, title: 'Bread'}, client.requests[0]);
    assert.deepEqual(errors, ['oops']);
    assert.deepEqual(client.asked, ['POST /todo', 'GET /todo', 'PATCH /todo/3']);
  });
});

test('events are delivered after a handler of undelivered has thrown', async context => {
  const errors = reported(context);
  mock.timers.enable({apis: ['setTimeout']});
  context.after(() => mock.timers.reset());
  const {Backwire, client} = start();
  const handled = [];
  Backwire.on('undelivered', () => { throw new Error('oops'); });
  Backwire.socket.on('bad', () => { throw new Error('bad'); }).on('news', text => { handled.push(text); });
  client.listener.deliver('', [[0, 0, '1', ['bad'], 0], [0, 0, '2', ['news', 'a'], 0]]);
  for (let tries = 0; tries < 4; tries += 1) {
    for (let turn = 0; turn < 20; turn += 1) await null;
    mock.timers.tick(1000);
  }
  assert.deepEqual([handled, errors], [['a'], ['oops']]);
});

test('a write of the page whose answer is a file ends', () => {
  const {client, page, todos} = startWithTodos({$: realJquery().$});
  todos.get(1).save({}, {realtime: false});
  const [xhr] = page.xhrs;
  xhr.responseType = 'blob';
  Object.defineProperty(xhr, 'responseText', {get() { throw new Error('InvalidStateError'); }, set() {}});
  Object.assign(xhr, {status: 200, response: new Blob(['x'])});
  const answered = [];
  client.answeredOverHttp = token => answered.push(token);
  xhr.dispatchEvent(new Event('loadend'));
  assert.deepEqual(answered, [client.last.token]);
});

test('a write that goes by a real XMLHttpRequest is registered with its key, also at a url with a query', () => {
  const {client, page, todos} = startWithTodos({$: realJquery().$});
  todos.get(1).save({}, {realtime: false, url: '/todo?source=form'});
  assert.deepEqual([client.last.url, client.last.kind], ['/todo?source=form', 2]);
  assert.match(page.xhrs[0].headers['Idempotency-Key'], new RegExp(`^${client.session}-`));
});

test('a request that beforeSend cancels in jQuery 1.5 to 1.7, whose ajax returns false then, is not sent again', () => {
  const $ = {ajax: () => false};
  const {Todo, client, page} = start({$});
  assert.equal(new Todo({id: 7}).fetch(), false);
  assert.deepEqual([client.asked, page.xhrs], [[], []]);
});

test('a request that was aborted before it could go over HTTP ends nothing else', async context => {
  const rejections = [];
  const note = error => rejections.push(error);
  process.on('unhandledRejection', note);
  context.after(() => process.off('unhandledRejection', note));
  const {Todo, client} = start();
  new Todo({id: 7}).fetch().abort();
  client.listener.http(1);
  await new Promise(setImmediate);
  assert.deepEqual(rejections, []);
});

test('the core gets no calls after Backwire is uninstalled', async () => {
  const {Backwire, client, page, todos} = startWithTodos({$: realJquery().$});
  const late = [];
  todos.get(1).save({}, {realtime: false});
  Backwire.uninstall();
  await null;
  client.answeredOverHttp = client.abort = client.unsubscribe = () => late.push('called');
  page.xhrs[0].answer(200, {id: 1});
  assert.deepEqual(late, []);
});

test('a request that waits for kept writes is sent over HTTP on a page without the receiver', context => {
  context.after(() => mock.restoreAll());
  mock.method(console, 'error', () => {});
  const page = fakePage();
  const former = start({page});
  former.client.tell('offline');
  new former.Todo({id: 7}).save();
  former.Backwire.uninstall();
  const {loadPart, load} = lateParts('live', 'extra');
  const {Todo, client} = start({page, $: realJquery().$, loadPart});
  const todo = new Todo({id: 8});
  todo.fetch();
  load('live', null);
  load('extra');
  page.xhrs[0].answer(200, {id: 8, title: 'Eggs'});
  assert.deepEqual([client.asked, todo.get('title')], [['PUT /todo/7'], 'Eggs']);
});

test('a request fails on a page without jQuery if the part for its calls cannot be loaded', () => {
  const {loadPart, load} = lateParts('extra');
  const {Todo} = start({loadPart});
  const statuses = [];
  new Todo({id: 7}).fetch({error: (_, xhr) => statuses.push(xhr.status)});
  load('extra', null);
  assert.deepEqual(statuses, [0]);
});
