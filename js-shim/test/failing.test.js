// Failures of the core
// --------------------

import assert from 'node:assert/strict';
import {mock, test} from 'node:test';

import {realJquery} from '../fakes/jquery.js';
import {fakePage, start} from '../fakes/page.js';

// A page whose server answers over HTTP with `reply`. `asked` has the requests.
function startOverHttp({reply = () => ({status: 200, body: {}}), ...options} = {}) {
  mock.method(console, 'error', () => {});
  const page = fakePage();
  const asked = [];
  page.fetch = async (url, {method, headers, body}) => {
    asked.push({call: `${method} ${url}`, key: headers['idempotency-key'], body: body && JSON.parse(body)});
    const {status, body: answer, error} = reply(asked.length);
    if (error) throw error;
    return new Response(JSON.stringify(answer), {status, headers: {'backwire-position': '7:1'}});
  };
  return {...start({page, ...options}), asked};
}

const trap = () => Object.assign(new Event('error'), {error: new WebAssembly.RuntimeError('unreachable')});

test('requests that are pending when the core fails are answered over HTTP, with their keys', async () => {
  const {Todo, client, page, asked} = startOverHttp({reply: () => ({status: 200, body: {id: 7, title: 'Milk'}})});
  const saved = new Todo({title: 'Milk'}).save();
  const read = new Todo({id: 7}).fetch();
  client.panic();
  page.dispatch(trap());
  assert.deepEqual(await saved, {id: 7, title: 'Milk'});
  await read;
  page.dispatch(trap());
  assert.deepEqual(asked.map(({call}) => call), ['POST http://app.test/todo', 'GET http://app.test/todo/7']);
  assert.deepEqual(asked.map(({key}) => key), [`${client.session}-1`, undefined]);
  assert.deepEqual(asked[0].body, {title: 'Milk'});
});

test('a call in which the core fails is answered over HTTP as well', async () => {
  const {Todo, client, asked} = startOverHttp();
  client.panic();
  await new Todo({id: 7, title: 'Milk'}).save();
  assert.deepEqual(asked.map(({call}) => call), ['PUT http://app.test/todo/7']);
});

test('a failure of the core is reported and restores the page\'s own sync', async () => {
  const {Backbone, Backwire, Todo, client, page, originalSync} = startOverHttp({$: {ajax: () => 'page xhr'}});
  client.panic();
  page.dispatch(trap());
  assert.match(String(Backwire.error), /unreachable/);
  assert.deepEqual(Backwire.status, {state: 'offline', unsent: 0});
  assert.match(console.error.mock.calls[0].arguments[0], /Backwire goes on over HTTP/);
  assert.equal(Backbone.sync, originalSync);
  assert.equal(new Todo({id: 7}).fetch(), 'page xhr');
});

test('a page of another origin keeps sending its requests to the server of the tag', async () => {
  const {Todo, client, page, asked} = startOverHttp({url: 'http://server.test', $: realJquery().$});
  client.panic();
  page.dispatch(trap());
  await new Todo({id: 7}).fetch();
  assert.deepEqual(asked.map(({call}) => call), ['GET http://server.test/todo/7']);
});

test('a refusal over HTTP calls error', async () => {
  const {Todo, client} = startOverHttp({reply: () => ({status: 422, body: {message: 'no'}})});
  client.panic();
  const refused = await new Promise(resolve => {
    new Todo({id: 7}).save({}, {error: (_, xhr) => resolve([xhr.status, xhr.responseJSON])});
  });
  assert.deepEqual(refused, [422, {message: 'no'}]);
});

test('a request that does not reach the server is sent again', async () => {
  mock.timers.enable({apis: ['setTimeout']});
  const fails = count => count < 3 ? {error: new TypeError('Failed to fetch')} : {status: 200, body: {id: 7}};
  const {Todo, client, asked} = startOverHttp({reply: fails});
  client.panic();
  const saved = new Todo({id: 7}).save();
  while (asked.length < 3) {
    await new Promise(setImmediate);
    mock.timers.tick(3000);
  }
  assert.deepEqual(await saved, {id: 7});
  assert.equal(new Set(asked.map(({key}) => key)).size, 1);
  mock.timers.reset();
});

test('a trap in another wasm module does not count as a failure of the core', () => {
  const {Backwire, page} = startOverHttp();
  page.dispatch(trap());
  assert.equal(Backwire.error, null);
});

test('requests are answered over HTTP after the core fails while a delivery is confirmed', async context => {
  const {Backwire, Todo, client, page, asked} = startOverHttp();
  globalThis.reportError = error => page.dispatch(Object.assign(new Event('error'), {error}));
  context.after(() => { delete globalThis.reportError; });
  const received = [];
  Backwire.socket.on('news', text => { received.push(text); });
  client.panic();
  client.delivered = client.request;
  client.listener.deliver('', [[0, 0, '1', ['news', 'a'], 0], [0, 0, '2', ['news', 'b'], 0]]);
  for (let turn = 0; turn < 20; turn += 1) await null;
  // The second event is sent again to the next page: this page can no longer confirm the first.
  assert.deepEqual(received, ['a']);
  await new Todo({id: 7}).fetch();
  assert.deepEqual(asked.map(({call}) => call), ['GET http://app.test/todo/7']);
});
