// socket.io-client 2.5, which speaks the Engine.IO protocol of Sails' own time
// ----------------------------------------------------------------------------

import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {describe, test} from 'node:test';
import {resource, server} from './client.mjs';
import {Pushes} from './pushes.mjs';

const io = createRequire(import.meta.url)('socket.io-client-2');

async function connect(t, transports) {
  const socket = io(server, {transports, forceNew: true, reconnection: false});
  t.after(() => socket.disconnect());
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('connect_error', reject));
  return socket;
}

const ask = (socket, event, argument) => new Promise(resolve => socket.emit(event, argument, resolve));

// The last is what the client does by itself: it begins by polling and goes over to a WebSocket.
for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
  describe(`over ${transports.join(', then ')}`, () => {
    test('objects are requests of Sails 1.x', async t => {
      const [socket, other] = [await connect(t, transports), await connect(t, transports)];
      const name = resource();
      const pushes = new Pushes(push => socket.on(name, push));
      assert.deepEqual((await ask(socket, 'get', {url: `/${name}`})).body, []);
      const {body: made, statusCode} = await ask(other, 'post', {url: `/${name}`, data: {title: 'Milk'}});
      assert.deepEqual([made.title, statusCode], ['Milk', 200]);
      assert.deepEqual(await pushes.count(1), [[{verb: 'created', id: 1, data: made}]]);
      const missing = await ask(socket, 'get', {url: `/${name}/9`});
      assert.deepEqual([missing.statusCode, missing.body.code], [404, 'E_NOT_FOUND']);
    });

    test('JSON in a string is a request of Sails 0.9', async t => {
      const [socket, other] = [await connect(t, transports), await connect(t, transports)];
      const name = resource();
      const pushes = new Pushes(push => socket.on('message', push));
      assert.equal(await ask(socket, 'get', JSON.stringify({url: `/${name}`})), '[]');
      const made = await ask(other, 'post', JSON.stringify({url: `/${name}`, data: {title: 'Milk'}}));
      assert.deepEqual(await pushes.count(1), [
        [{model: name, verb: 'create', data: JSON.parse(made), id: 1}]
      ]);
      const missing = JSON.parse(await ask(socket, 'get', JSON.stringify({url: `/${name}/9`})));
      assert.deepEqual([missing.status, missing.code], [404, 'E_NOT_FOUND']);
    });
  });
}
