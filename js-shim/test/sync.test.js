// Choice of transport, and restored functions
// -------------------------------------------

import assert from 'node:assert/strict';
import {STATUS_CODES} from 'node:http';
import {mock, test} from 'node:test';

import {updated} from '../fakes/client.js';
import {realJquery} from '../fakes/jquery.js';
import {fakePage, start} from '../fakes/page.js';

// With jQuery, whose own requests are `sent`.
function startWithJquery(options) {
  const {$, requests} = realJquery();
  const all = start({$, ...options});
  const sent = () => [...requests, ...all.page.xhrs].map(({method, url}) => `${method} ${url}`);
  return {...all, $, requests, sent};
}

test('a request goes by socket and Backbone.ajax is restored', () => {
  const {Backbone, Todo, client, originalAjax, sent} = startWithJquery();
  new Todo({id: 7}).fetch();
  assert.deepEqual(client.asked, ['GET /todo/7']);
  assert.equal(Backbone.ajax, originalAjax);
  assert.deepEqual(sent(), []);
});

test('Backbone.ajax is restored when sync throws', () => {
  const {Backbone, originalAjax} = start();
  assert.throws(() => new Backbone.Model().fetch(), /"url" property/);
  assert.equal(Backbone.ajax, originalAjax);
});

test('Backbone.ajax is the page\'s own while the request event is handled', () => {
  const {Backbone, Todo, originalAjax} = start();
  const todo = new Todo({id: 7});
  let seen;
  todo.on('request', () => { seen = Backbone.ajax; });
  todo.fetch();
  assert.equal(seen, originalAjax);
});

test('a Backbone.ajax that a request handler has set stays', () => {
  const {Backbone, Todo} = start();
  const todo = new Todo({id: 7});
  const mine = () => {};
  todo.on('request', () => { Backbone.ajax = mine; });
  todo.fetch();
  assert.equal(Backbone.ajax, mine);
});

test('a Backbone.ajax of the page that passes its settings on is called', () => {
  const {$, Backbone, Todo, client} = startWithJquery();
  let calls = 0;
  Backbone.ajax = settings => {
    calls += 1;
    return $.ajax({...settings, headers: {'X-Api-Key': 'mine'}});
  };
  new Todo({id: 7}).fetch();
  assert.deepEqual([calls, client.asked, client.last.headers['x-api-key']], [1, ['GET /todo/7'], 'mine']);
});

test('a Backbone.ajax that makes its own requests is replaced from its second call on, with a console message', context => {
  const info = mock.method(console, 'info', () => {});
  context.after(() => info.mock.restore());
  const calls = [];
  const {Todo, Todos, client} = start({ajax: settings => {
    calls.push(settings.url);
    return Promise.resolve();
  }});
  const todos = new Todos();
  todos.fetch();
  // The target is read once more over the socket, to be live.
  assert.deepEqual([calls, client.asked], [['/todo'], ['GET /todo']]);
  client.read('todo', 5, [{id: 1, title: 'Milk'}]);
  assert.deepEqual(todos.pluck('title'), ['Milk']);
  new Todo({id: 7}).fetch();
  new Todo({id: 7}).fetch({realtime: false});
  assert.deepEqual([calls, client.asked], [['/todo', '/todo/7'], ['GET /todo', 'GET /todo/7']]);
  assert.equal(info.mock.callCount(), 1);
});

test('nested requests use their own transport', () => {
  const {Backbone, Todo, client, sent, originalAjax} = startWithJquery();
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
  assert.deepEqual(sent(), ['GET /todo/1', 'GET http://elsewhere.test/todo/2']);
  assert.equal(Backbone.ajax, originalAjax);
});

test('realtime: false in options, on a model, a class or a collection keeps to plain Ajax', () => {
  const {Todo, Todos, client, sent} = startWithJquery();
  new Todo({id: 1}).fetch({realtime: false});
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
  assert.deepEqual(sent(), ['GET /todo/1', 'GET /todo/2', 'PUT /todo/3', 'GET /todo', 'DELETE /todo/4', 'POST /todo']);
});

test('the nearest realtime setting counts', () => {
  const {Todos, client} = startWithJquery();
  const todos = new (Todos.extend({realtime: false}))([{id: 1}]);
  todos.get(1).realtime = true;
  todos.get(1).fetch();
  todos.fetch({realtime: true});
  assert.deepEqual(client.asked, ['GET /todo/1', 'GET /todo']);
});

test('an absolute url of another origin goes by plain Ajax', () => {
  const {Backbone, client, sent} = startWithJquery();
  const todos = new Backbone.Collection();
  todos.fetch({url: 'http://elsewhere.test/todo'});
  todos.fetch({url: '//elsewhere.test/todo'});
  todos.fetch({url: 'https://app.test/todo'});
  todos.fetch({url: 'http://app.test/todo'});
  todos.fetch({url: '//app.test/todo?x=1'});
  assert.deepEqual(client.asked, ['GET /todo', 'GET /todo?x=1']);
  assert.equal(sent().length, 3);
});

test('a relative url on a page of another origin goes to the server of the tag', () => {
  const {Backbone, client, sent} = startWithJquery({
    url: 'http://server.test:1337/backwire.js', page: fakePage('https://pages.test/a/b')
  });
  assert.equal(client.url, 'ws://server.test:1337/socket.io/?EIO=4&transport=websocket');
  const todos = new Backbone.Collection();
  todos.fetch({url: '/todo'});
  todos.fetch({url: '../todo'});
  todos.fetch({url: 'http://server.test:1337/todo/1'});
  todos.fetch({url: 'https://pages.test/todo'});
  assert.deepEqual(client.asked, ['GET /todo', 'GET /todo', 'GET /todo/1']);
  assert.deepEqual(sent(), ['GET https://pages.test/todo']);
});

test('a request that a socket cannot carry goes by a real XMLHttpRequest', () => {
  const {Todo, client, sent} = startWithJquery();
  const todo = new Todo({id: 1});
  todo.fetch({async: false});
  todo.save(null, {data: new FormData(), contentType: false});
  todo.fetch({type: 'HEAD'});
  todo.save(null, {data: 'a[b]=1', contentType: 'application/x-www-form-urlencoded'});
  assert.deepEqual(client.asked, []);
  assert.deepEqual(sent(), ['GET /todo/1', 'PUT /todo/1', 'HEAD /todo/1', 'PUT /todo/1']);
});

test('an xhr function of the page keeps its request', () => {
  const {Todo, client, page} = startWithJquery();
  new Todo({id: 1}).fetch({xhr: () => new page.XMLHttpRequest()});
  assert.deepEqual([client.asked, page.xhrs.length], [[], 1]);
});

test('a write with an xhr function of the page is known as a write of the page', () => {
  for (const isSetUp of [false, true]) {
    const {$, Todos, client, page} = startWithJquery();
    const todos = new Todos();
    todos.fetch();
    client.read('todo', 5, []);
    const made = [];
    const options = {xhr() {
      const xhr = new page.XMLHttpRequest();
      xhr.addEventListener('progress', () => {});
      made.push(xhr);
      return xhr;
    }};
    if (isSetUp) $.ajaxSetup(options);
    todos.create({title: 'Milk'}, isSetUp ? {} : options);
    assert.deepEqual([page.xhrs.length, made[0] === page.xhrs[0]], [1, true]);
    assert.match(page.xhrs[0].headers['Idempotency-Key'], /-\d+$/);
    assert.equal(typeof options.xhr, 'function', 'the options are as before');
  }
});

test('a path that the server serves over HTTP only is requested over HTTP, and from then on at once', () => {
  const {Backbone, client, page} = startWithJquery();
  const products = new (Backbone.Collection.extend({url: '/data/products.json'}))();
  products.fetch();
  client.answer(404, undefined, {'backwire-transport': 'http'});
  page.xhrs[0].answer(200, [{id: 1}, {id: 2}]);
  assert.equal(products.length, 2);
  products.fetch();
  assert.deepEqual([client.asked.length, page.xhrs.length], [1, 2]);
});

test('headers of the page are sent, wherever they are set', () => {
  const {$, Todo, client} = startWithJquery();
  $.ajaxSetup({headers: {'X-Setup': 'a'}, beforeSend: xhr => xhr.setRequestHeader('X-Before', 'b')});
  $.ajaxPrefilter((options, own, xhr) => xhr.setRequestHeader('X-Prefilter', 'c'));
  new Todo({id: 7}).save({title: 'Milk'}, {headers: {'X-Call': 'd', 'Idempotency-Key': 'mine'}});
  const {headers, key} = client.last;
  assert.deepEqual([headers['x-setup'], headers['x-before'], headers['x-prefilter'], headers['x-call'], key], ['a', 'b', 'c', 'd', 'mine']);
  assert.deepEqual(['accept', 'content-type', 'idempotency-key'].filter(name => name in headers), []);
});

test('a prefilter may change url and data, and a save that it has changed is sent whole', () => {
  const {$, Todos, client} = startWithJquery();
  const todos = new Todos();
  todos.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk', done: false}]);
  $.ajaxPrefilter(options => {
    options.url = '/api' + options.url;
    if (options.data) options.data = JSON.stringify({...JSON.parse(options.data), by: 'ann'});
  });
  todos.get(1).save({done: true});
  assert.deepEqual([client.asked.at(-1), client.last.body], ['PUT /api/todo/1', {id: 1, title: 'Milk', done: true, by: 'ann'}]);
});

test('a save that a hook sends to another record is sent whole', () => {
  const {Todos, client} = startWithJquery();
  const todos = new Todos();
  todos.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk', done: false}]);
  const to = path => ({beforeSend: (xhr, settings) => { settings.url = path; }});
  todos.get(1).save({done: true}, to('/archive/1'));
  assert.deepEqual([client.asked.at(-1), client.last.body], ['PUT /archive/1', {id: 1, title: 'Milk', done: true}]);
  todos.get(1).save({done: true}, to('/todo/2'));
  assert.deepEqual([client.asked.at(-1), client.last.body], ['PUT /todo/2', {id: 1, title: 'Milk', done: true}]);
  todos.get(1).save({title: 'Eggs'}, to('/api/Todo/1'));
  assert.equal(client.asked.at(-1), 'PATCH /api/Todo/1');
  todos.get(1).url = '/user/1/favorites/1';
  todos.get(1).save({title: 'Bread'});
  assert.equal(client.asked.at(-1), 'PATCH /user/1/favorites/1');
});

test('a save after one that was sent elsewhere is sent whole', () => {
  const {Todos, client} = startWithJquery();
  const todos = new Todos();
  todos.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk', done: false}]);
  const [model] = todos.models;
  const elsewhere = [{beforeSend: (xhr, settings) => { settings.url = '/archive/1'; }}, {url: '/archive/1'}];
  for (const [index, options] of elsewhere.entries()) {
    model.save({done: true}, options);
    client.wrote('archive/1', 6 + index, {id: 1, title: 'Milk', done: true});
    model.save({title: 'Eggs'});
    assert.deepEqual([client.asked.at(-1), client.last.body], ['PUT /todo/1', {id: 1, title: 'Eggs', done: true}]);
    client.wrote('todo/1', 6 + index, {id: 1, title: 'Eggs', done: true});
  }
  model.save({title: 'Bread'});
  assert.deepEqual([client.asked.at(-1), client.last.body], ['PATCH /todo/1', {title: 'Bread'}]);
});

test('a change of a record changes no model of another resource with the same id in its list', () => {
  const {Todos, client} = startWithJquery();
  const todos = new Todos();
  todos.fetch();
  client.read('todo', 5, [{id: 2, title: 'Milk'}]);
  const other = todos.create({title: 'Eggs'}, {beforeSend: (xhr, settings) => { settings.url = '/archive'; }});
  client.wrote('archive/2', 6, {id: 2, title: 'Eggs'});
  client.push('todo', updated(7, 2, {title: 'Oat milk'}));
  assert.deepEqual([todos.pluck('title'), other.get('title')], [['Oat milk', 'Eggs'], 'Eggs']);
});

test('a create that a hook sends to another resource removes no model of a record with the same id', () => {
  const {Todos, client} = startWithJquery();
  const todos = new Todos();
  todos.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk'}]);
  const [milk] = todos.models;
  const eggs = todos.create({title: 'Eggs'}, {beforeSend: (xhr, settings) => { settings.url = '/archive'; }});
  client.wrote('archive/1', 6, {id: 1, title: 'Eggs'});
  assert.deepEqual(todos.models, [milk, eggs]);
});

test('url and body are fixed at the call', () => {
  const {Backbone, Todo, client} = start();
  const todos = new (Backbone.Collection.extend({url: '/todo'}))([{id: 7}]);
  todos.get(7).destroy();
  const todo = new Todo({id: 8, title: 'Milk'});
  todo.save({title: 'Eggs'}, {wait: true});
  todo.set('title', 'Bread');
  assert.deepEqual(client.asked, ['DELETE /todo/7', 'PUT /todo/8']);
  assert.deepEqual(client.last.body, {id: 8, title: 'Eggs'});
});

test('an invalid save sends no request', () => {
  const {Todo, client} = start();
  const todo = new (Todo.extend({validate: () => 'never'}))();
  assert.equal(todo.save({title: ''}), false);
  assert.deepEqual(client.asked, []);
});

test('emulateHTTP and emulateJSON send the method and body that they stand for', () => {
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

test('data of the page is sent as JSON, also form data', () => {
  const {Todo, client} = startWithJquery();
  const bodies = ['{"a":1}', 'a=1&b=x+y', {a: 1}].map(data => {
    new Todo({id: 7}).save(null, {data, processData: true, contentType: data[0] === '{' ? 'application/json' : undefined});
    return client.last.body;
  });
  assert.deepEqual(bodies, [{a: 1}, {a: '1', b: 'x y'}, {a: '1'}]);
});

test('malformed JSON goes over HTTP, so that the server refuses it as without Backwire', () => {
  const {Todo, client, page} = startWithJquery();
  new Todo({id: 7}).save(null, {data: '{"a":', contentType: 'application/json'});
  assert.deepEqual([client.asked, page.xhrs.map(({method, body}) => [method, body])], [[], [['PUT', '{"a":']]]);
});

test('a core that throws ends in the error callback', async () => {
  const {Todo, client} = start();
  client.request = () => { throw new Error('unreachable'); };
  const todo = new Todo({id: 7});
  let called = false;
  const xhr = todo.fetch({error: (_, failed, options) => { called = options.errorThrown; }});
  assert.equal(called, false);
  await xhr.catch(() => {});
  assert.equal(called, '');
});

test('an abort reaches the core, and a later reply is ignored', () => {
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
  assert.deepEqual([xhr.status, textStatus, errorThrown], [413, 'error', 'Payload Too Large']);
  assert.deepEqual(xhr.responseJSON, {code: 'E_TOO_LARGE', message: 'too much', limit: 3});
  assert.deepEqual(JSON.parse(xhr.responseText), xhr.responseJSON);
  assert.equal(xhr.getResponseHeader('Backwire-X'), 'y');
  assert.equal(xhr.getResponseHeader('etag'), null);
  assert.match(xhr.getAllResponseHeaders(), /^backwire-x: y\r\n/m);
});

test('a callback that throws is reported and stops no other callback', context => {
  const reported = [];
  globalThis.reportError = error => reported.push(error.message);
  context.after(() => { delete globalThis.reportError; });
  const {Todo, client} = start();
  const called = [];
  const xhr = new Todo({id: 7}).fetch({
    success() { throw new Error('a bug of the page'); },
    complete: () => called.push('complete')
  });
  xhr.done(() => called.push('done'));
  client.answer(200, {id: 7});
  assert.deepEqual(called, ['done', 'complete']);
  assert.deepEqual(reported, ['a bug of the page']);
});

test('an answer has the reason phrase of its status', () => {
  const {Todo, client} = startWithJquery();
  for (const [status, text] of Object.entries(STATUS_CODES)) {
    if (status < 200 || status === '509') continue;
    const xhr = new Todo({id: 1}).fetch();
    client.answer(Number(status), undefined, {});
    const plain = it => it.toLowerCase().replace('-', ' ');
    assert.equal(plain(xhr.statusText), plain(text), status);
  }
});

test('a model that is written to another url by sync alone goes on to show its own record', () => {
  const {Backbone, Todos, client} = startWithJquery();
  const [todos, archive] = [new Todos(), new (Todos.extend({url: '/archive'}))()];
  todos.fetch();
  client.read('todo', 5, [{id: 1, title: 'Milk'}]);
  Backbone.sync('update', todos.get(1), {url: '/archive/1', attrs: {title: 'Old milk'}});
  client.wrote('archive/1', 1, {id: 1, title: 'Old milk'});
  archive.fetch();
  client.read('archive', 2, [{id: 1, title: 'Older milk'}]);
  assert.deepEqual([todos.get(1).get('title'), archive.get(1).get('title')], ['Milk', 'Older milk']);
});

test('a form field or a header replaces the method of a POST as the server does it', () => {
  const {Todo, client} = startWithJquery();
  const form = 'application/x-www-form-urlencoded';
  const todo = new Todo({id: 1});
  for (const [type, override, data, asked] of [
    ['POST', null, '_method=PUT&model=%7B%7D', 'PUT'], ['POST', 'PATCH', '_method=PUT&model=%7B%7D', 'PATCH'], ['POST', 'COPY', '_method=delete&a=1', 'DELETE'],
    ['POST', null, '_method=get&a=1', 'POST'], ['PUT', 'DELETE', 'a=1', 'PUT']
  ]) {
    todo.save(null, {type, data, contentType: form, headers: override ? {'X-HTTP-Method-Override': override} : {}});
    assert.equal(client.asked.at(-1), `${asked} /todo/1`);
  }
});

// The page's own XMLHttpRequest
// -----------------------------

test('a save repeats the attributes of a write that the page itself has sent', () => {
  for (const isBlocking of [false, true]) {
    const {Todos, client, page} = startWithJquery();
    const todos = new Todos();
    todos.fetch();
    client.read('todo', 5, [{id: 1, title: 'Milk'}]);
    const milk = todos.get(1);
    milk.save({title: 'Oat milk'}, isBlocking ? {async: false} : {xhr: () => new page.XMLHttpRequest()});
    milk.save({title: 'Milk'});
    assert.deepEqual([client.last.method, client.last.body.title], ['patch', 'Milk'], `blocking: ${isBlocking}`);
  }
});
