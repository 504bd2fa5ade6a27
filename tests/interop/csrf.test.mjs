// CSRF tokens with the unmodified sails.io.js
// -------------------------------------------
//
// Against a server with `csrf: true` and `compat: sails`.

import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {test} from 'node:test';
import {resource, server} from './client.mjs';

const require = createRequire(import.meta.url);
const sails = require('sails.io.js')(require('socket.io-client-2')).sails;
sails.autoConnect = false;
sails.environment = 'production';

// A cookie and the token of its session.
async function session() {
  const response = await fetch(`${server}/csrfToken`);
  const [given] = response.headers.getSetCookie();
  return {cookie: given.split(';')[0], token: (await response.json())._csrf};
}

async function connect(t, options) {
  const socket = sails.connect(server, {multiplex: false, ...options});
  t.after(() => socket.disconnect());
  await new Promise((resolve, reject) => socket.on('connect', resolve).on('connect_error', reject));
  return socket;
}

// The status and the body of an answer.
function ask(socket, method, url, data, headers) {
  return new Promise(resolve => {
    socket.request({method, url, data, headers}, (body, {statusCode}) => resolve([statusCode, body]));
  });
}

for (const transport of ['websocket', 'polling']) {
  test(`a socket with the cookie writes with the token of its session over ${transport}`, async t => {
    const {cookie, token} = await session();
    const {token: foreign} = await session();
    const socket = await connect(t, {transports: [transport], initialConnectionHeaders: {cookie}});
    const url = `/${resource()}`;
    assert.deepEqual((await ask(socket, 'get', '/csrfToken'))[0], 404);
    for (const _csrf of [undefined, foreign]) {
      const [status, body] = await ask(socket, 'post', url, {title: 'Milk', _csrf});
      assert.deepEqual([status, body.code], [403, 'E_CSRF']);
    }
    for (const [query, data, headers] of [
      ['', {_csrf: token}, {}], [`?_csrf=${token}`, {}, {}], ['', {}, {'X-CSRF-Token': token}]
    ]) {
      const [status, body] = await ask(socket, 'post', url + query, {title: 'Milk', ...data}, headers);
      assert.deepEqual([status, body.title, '_csrf' in body], [200, 'Milk', false]);
    }
    assert.equal((await ask(socket, 'get', url))[1].length, 3);
  });
}

test('the headers of a connection have the token for all of its writes', async t => {
  const {cookie, token} = await session();
  const socket = await connect(t, {initialConnectionHeaders: {cookie}, headers: {'x-csrf-token': token}});
  const url = `/${resource()}`;
  assert.equal((await ask(socket, 'post', url, {title: 'Milk'}))[0], 200);
  assert.equal((await ask(socket, 'patch', `${url}/1`, {title: 'Oats'}))[0], 200);
  assert.equal((await ask(socket, 'delete', `${url}/1`))[0], 200);
});

test('a socket without a cookie or without a session cannot write', async t => {
  const {cookie, token} = await session();
  for (const initialConnectionHeaders of [{}, {cookie, nosession: true}]) {
    const socket = await connect(t, {transports: ['websocket'], initialConnectionHeaders});
    assert.equal((await ask(socket, 'post', `/${resource()}`, {_csrf: token}))[0], 403);
  }
});
