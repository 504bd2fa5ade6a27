// Whose request is it, and what is put back afterwards
// ----------------------------------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {fakePage, start} from '../fakes/page.js';
import {Xhr} from '../src/xhr.js';

test('a request goes by socket and Backbone.ajax is put back', () => {
  const {Backbone, Todo, client, plainAjax, ajaxed} = start();
  new Todo({id: 7}).fetch();
  assert.deepEqual(client.asked, ['GET /todo/7']);
  assert.equal(Backbone.ajax, plainAjax);
  assert.deepEqual(ajaxed, []);
});

test('Backbone.ajax is put back when sync throws', () => {
  const {Backbone, plainAjax} = start();
  assert.throws(() => new Backbone.Model().fetch(), /"url" property/);
  assert.equal(Backbone.ajax, plainAjax);
});

test('Backbone.ajax is the page\'s own while the request event is handled', () => {
  const {Backbone, Todo, plainAjax} = start();
  const todo = new Todo({id: 7});
  let seen;
  todo.on('request', () => { seen = Backbone.ajax; });
  todo.fetch();
  assert.equal(seen, plainAjax);
});

test('a Backbone.ajax that a request handler has put there stays', () => {
  const {Backbone, Todo} = start();
  const todo = new Todo({id: 7});
  const mine = () => {};
  todo.on('request', () => { Backbone.ajax = mine; });
  todo.fetch();
  assert.equal(Backbone.ajax, mine);
});

test('requests made while another is being written go where they belong', () => {
  const {Backbone, Todo, client, ajaxed, plainAjax} = start();
  const plain = new Todo({id: 1});
  plain.realtime = false;
  const foreign = new Todo({id: 2});
  foreign.urlRoot = 'http://elsewhere.test/todo';
  const outer = new Todo({id: 4});
  outer.toJSON = () => {
    plain.fetch();
    foreign.fetch();
    new Todo({id: 3}).fetch();
    return {id: 4};
  };
  outer.save();
  assert.deepEqual(client.asked, ['GET /todo/3', 'PUT /todo/4']);
  assert.deepEqual(ajaxed, ['GET /todo/1', 'GET http://elsewhere.test/todo/2']);
  assert.equal(Backbone.ajax, plainAjax);
});

test('realtime: false in options, on a model, a class or a collection keeps to the original sync', () => {
  const {Backbone, Todo, Todos, client, ajaxed} = start();
  assert.equal(new Todo({id: 1}).fetch({realtime: false}), 'plain xhr');
  const model = new Todo({id: 2});
  model.realtime = false;
  model.fetch();
  new (Todo.extend({realtime: false}))({id: 3}).save();
  const todos = new (Todos.extend({realtime: false}))([{id: 4}]);
  todos.fetch();
  todos.get(4).destroy();
  const collection = new Todos();
  collection.realtime = false;
  collection.create({title: 'Milk'});
  assert.deepEqual(client.asked, []);
  assert.deepEqual(ajaxed, ['GET /todo/1', 'GET /todo/2', 'PUT /todo/3', 'GET /todo', 'DELETE /todo/4', 'POST /todo']);
  assert.ok(Backbone);
});

test('the nearest word on realtime counts', () => {
  const {Todos, client} = start();
  const todos = new (Todos.extend({realtime: false}))([{id: 1}]);
  todos.get(1).realtime = true;
  todos.get(1).fetch();
  todos.fetch({realtime: true});
  assert.deepEqual(client.asked, ['GET /todo/1', 'GET /todo']);
});

test('an absolute url of another origin goes to the original sync', () => {
  const {Backbone, client, ajaxed} = start();
  const todos = new Backbone.Collection();
  assert.equal(todos.fetch({url: 'http://elsewhere.test/todo'}), 'plain xhr');
  todos.fetch({url: '//elsewhere.test/todo'});
  todos.fetch({url: 'https://app.test/todo'});
  todos.fetch({url: 'http://app.test/todo'});
  todos.fetch({url: '//app.test/todo?x=1'});
  assert.deepEqual(client.asked, ['GET /todo', 'GET /todo?x=1']);
  assert.equal(ajaxed.length, 3);
});

test('a relative url of a page from elsewhere goes to the server of the tag', () => {
  const {Backbone, client, ajaxed} = start({
    url: 'http://server.test:1337/backwire.js', page: fakePage('https://pages.test/a/b')
  });
  assert.equal(client.url, 'ws://server.test:1337/socket.io/?EIO=4&transport=websocket');
  const todos = new Backbone.Collection();
  todos.fetch({url: '/todo'});
  todos.fetch({url: '../todo'});
  todos.fetch({url: 'http://server.test:1337/todo/1'});
  todos.fetch({url: 'https://pages.test/todo'});
  assert.deepEqual(client.asked, ['GET /todo', 'GET /todo', 'GET /todo/1']);
  assert.deepEqual(ajaxed, ['GET https://pages.test/todo']);
});

test('what a socket cannot carry goes to the original sync', () => {
  const {Todo, client, ajaxed} = start();
  const todo = new Todo({id: 1});
  todo.fetch({async: false});
  todo.save(null, {data: new FormData(), contentType: false});
  todo.fetch({type: 'HEAD'});
  assert.deepEqual(client.asked, []);
  assert.deepEqual(ajaxed, ['GET /todo/1', 'PUT /todo/1', 'HEAD /todo/1']);
});

test('url and body are those of the moment of the call', () => {
  const {Backbone, Todo, client} = start();
  const todos = new (Backbone.Collection.extend({url: '/todo'}))([{id: 7}]);
  todos.get(7).destroy();
  const todo = new Todo({id: 8, title: 'Milk'});
  todo.save({title: 'Eggs'}, {wait: true});
  todo.set('title', 'Bread');
  assert.deepEqual(client.asked, ['DELETE /todo/7', 'PUT /todo/8']);
  assert.deepEqual(client.last.body, {id: 8, title: 'Eggs'});
});

test('a save that is not valid asks for nothing', () => {
  const {Todo, client} = start();
  const todo = new (Todo.extend({validate: () => 'never'}))();
  assert.equal(todo.save({title: ''}), false);
  assert.deepEqual(client.asked, []);
});

test('emulateHTTP and emulateJSON ask for what they stand for', () => {
  const {Backbone, Todo, client} = start();
  Backbone.emulateHTTP = true;
  new Todo({id: 7}).save({done: true}, {patch: true});
  assert.deepEqual(client.asked, ['PATCH /todo/7']);
  Backbone.emulateJSON = true;
  const todo = new Todo({id: 7, title: 'Milk'});
  todo.save();
  assert.deepEqual(client.last.body, {id: 7, title: 'Milk'});
  todo.fetch();
  todo.destroy();
  assert.deepEqual(client.asked.slice(1), ['PUT /todo/7', 'GET /todo/7', 'DELETE /todo/7']);
  assert.equal(client.last.body, undefined);
});

test('data of the page travels as JSON, also when it is a form', () => {
  const {Todo, client} = start();
  const bodies = ['{"a":1}', 'a=1&b=x+y', {a: [1]}, ''].map(data => {
    new Todo({id: 7}).save(null, {data});
    return client.last.body;
  });
  assert.deepEqual(bodies, [{a: 1}, {a: '1', b: 'x y'}, {a: [1]}, undefined]);
  new Todo({id: 7}).save(null, {data: '{"a":', contentType: 'application/json'});
  assert.equal(client.last.body, '{"a":');
});

test('a core that throws ends in the error callback', async () => {
  const {Todo, client} = start();
  client.request = () => { throw new Error('unreachable'); };
  const todo = new Todo({id: 7});
  let called = false;
  const xhr = todo.fetch({error: (_, failed, options) => { called = options.errorThrown; }});
  assert.equal(called, false);
  await xhr.catch(() => {});
  assert.equal(called, 'Error: unreachable');
});

test('an abort tells the core, and a reply after it is not heard', () => {
  const {Todo, client} = start();
  const todo = new Todo({id: 7});
  const xhr = todo.fetch({success: () => assert.fail('aborted')});
  xhr.abort();
  client.answer(200, {id: 7, title: 'Milk'});
  assert.deepEqual(client.calls, ['connect', 'abort 1']);
  assert.equal(todo.get('title'), undefined);
  assert.deepEqual([xhr.state(), xhr.statusText, xhr.status], ['rejected', 'abort', 0]);
});

test('an error has status, body and reason', () => {
  const {Todo, client} = start();
  const todo = new Todo({id: 7});
  let seen;
  todo.save(null, {error: (model, xhr, options) => { seen = [model, xhr, options.textStatus, options.errorThrown]; }});
  client.answer(413, {code: 'E_TOO_LARGE', message: 'too much', limit: 3}, {'backwire-x': 'y'});
  const [model, xhr, textStatus, errorThrown] = seen;
  assert.equal(model, todo);
  assert.deepEqual([xhr.status, textStatus, errorThrown], [413, 'error', 'too much']);
  assert.deepEqual(xhr.responseJSON, {code: 'E_TOO_LARGE', message: 'too much', limit: 3});
  assert.deepEqual(JSON.parse(xhr.responseText), xhr.responseJSON);
  assert.equal(xhr.getResponseHeader('Backwire-X'), 'y');
  assert.equal(xhr.getResponseHeader('etag'), null);
  assert.equal(xhr.getAllResponseHeaders(), 'backwire-x: y\r\n');
});

test('a callback that throws is reported and stops nobody', context => {
  const reported = [];
  globalThis.reportError = error => reported.push(error.message);
  context.after(() => { delete globalThis.reportError; });
  const {Todo, client} = start();
  const heard = [];
  const xhr = new Todo({id: 7}).fetch({
    success() { throw new Error('a bug of the page'); },
    complete: () => heard.push('complete')
  });
  xhr.done(() => heard.push('done'));
  client.answer(200, {id: 7});
  assert.deepEqual(heard, ['done', 'complete']);
  assert.deepEqual(reported, ['a bug of the page']);
});

test('a request has one outcome', () => {
  const outcomes = [];
  const note = (data, status) => outcomes.push(status);
  const xhr = new Xhr({success: note, error: note});
  xhr.begin();
  xhr.finish(304);
  xhr.finish(500, {});
  xhr.abort();
  assert.deepEqual(outcomes, ['success']);
  assert.deepEqual([xhr.status, xhr.state(), xhr.responseText], [304, 'resolved', '']);
});
