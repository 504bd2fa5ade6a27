// Sessions of stock clients
// -------------------------
//
// Against `server/examples/session.rs`: `/visits` counts for each session.

import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {describe, test} from 'node:test';
import vm from 'node:vm';
import {io} from 'socket.io-client';
import {server} from './client.mjs';

const require = createRequire(import.meta.url);
const sails = require('sails.io.js')(require('socket.io-client-2')).sails;
sails.autoConnect = false;
sails.environment = 'production';

// A cookie as a browser would bring it, from where `sails.io.js` gets it.
async function freshCookie() {
  return cookieOf(await fetch(`${server}/__getcookie`));
}

function cookieOf(response) {
  const [given] = response.headers.getSetCookie();
  return given.split(';')[0];
}

async function visitOverHttp(cookie) {
  const response = await fetch(`${server}/visits`, {headers: {cookie}});
  return (await response.json()).visits;
}

function connected(test, socket) {
  test.after(() => socket.disconnect());
  return new Promise((resolve, reject) => {
    socket.on('connect', () => resolve(socket));
    socket.on('connect_error', reject);
  });
}

for (const transport of ['websocket', 'polling']) {
  describe(`over ${transport}`, () => {
    const options = {transports: [transport], multiplex: false};

    describe('sails.io.js', () => {
      const connect = (test, more) => connected(test, sails.connect(server, {...options, ...more}));
      const visit = socket => new Promise(resolve => socket.get('/visits', body => resolve(body.visits)));

      test('has the session of ?cookie=', async t => {
        const cookie = await freshCookie();
        const socket = await connect(t, {query: `cookie=${encodeURIComponent(cookie)}`});
        assert.deepEqual([await visit(socket), await visitOverHttp(cookie), await visit(socket)], [1, 2, 3]);
      });

      test('has the session of the cookie in its first headers', async t => {
        const cookie = await freshCookie();
        const socket = await connect(t, {initialConnectionHeaders: {cookie}});
        assert.deepEqual([await visit(socket), await visitOverHttp(cookie), await visit(socket)], [1, 2, 3]);
      });

      test('has a session of its own without a cookie', async t => {
        const [one, other] = [await connect(t), await connect(t)];
        assert.deepEqual([await visit(one), await visit(one), await visit(other)], [1, 2, 1]);
      });
    });

    describe('socket.io-client', () => {
      const connect = (test, more) => connected(test, io(server, {...options, ...more}));
      const visit = async socket => {
        const {body} = await socket.timeout(10_000).emitWithAck('get', {url: '/visits'});
        return body.visits;
      };

      test('has the session of ?cookie=, also after a reconnect', async t => {
        const cookie = await freshCookie();
        const socket = await connect(t, {query: {cookie}, reconnectionDelay: 1});
        assert.deepEqual([await visit(socket), await visitOverHttp(cookie)], [1, 2]);
        const back = new Promise(resolve => socket.once('connect', resolve));
        socket.io.engine.close();
        await back;
        assert.deepEqual([await visit(socket), await visitOverHttp(cookie)], [3, 4]);
      });

      test('has a session of its own with a cookie that is none', async t => {
        const query = {cookie: `${await freshCookie()}x`};
        const [one, other] = [await connect(t, {query}), await connect(t, {query})];
        assert.deepEqual([await visit(one), await visit(one), await visit(other)], [1, 2, 1]);
      });
    });
  });
}

// The test does the browser's part for `sails.io.js`: it loads the script, and from then on sends
// the cookie that came with it.
test('sails.io.js on a page of elsewhere loads the cookie before it connects', async t => {
  const jar = {};
  const page = {location: {protocol: 'http:', hostname: 'page.example', port: ''}};
  const leave = () => ['window', 'document'].forEach(name => delete globalThis[name]);
  const head = {
    async appendChild(script) {
      const response = await fetch(script.src);
      jar.cookie = cookieOf(response);
      leave();
      vm.runInNewContext(await response.text(), page);
    }
  };
  globalThis.window = page;
  globalThis.document = {createElement: () => ({}), getElementsByTagName: () => [head]};
  t.after(leave);
  const options = {transports: ['websocket'], multiplex: false, initialConnectionHeaders: jar};
  const socket = await connected(t, sails.connect(server, options));
  const {visits} = await new Promise(resolve => socket.get('/visits', resolve));
  assert.deepEqual([visits, await visitOverHttp(jar.cookie)], [1, 2]);
});
