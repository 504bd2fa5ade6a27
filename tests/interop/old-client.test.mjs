// socket.io-client 2.5, which speaks the Engine.IO protocol of Sails' own time, and later ones
// --------------------------------------------------------------------------------------------

import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {describe, test} from 'node:test';
import {io as latestIo} from 'socket.io-client';
import {overHttp, resource, server} from './client.mjs';
import {Pushes} from './pushes.mjs';

const require = createRequire(import.meta.url);
const clients = {'2.5': require('socket.io-client-2'), '3.1': require('socket.io-client-3').io, '4.8': latestIo};

async function connect(t, {version, transports}) {
  const socket = clients[version](server, {transports, forceNew: true, reconnection: false});
  t.after(() => socket.disconnect());
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('connect_error', reject));
  return socket;
}

const ask = (socket, event, argument) => new Promise(resolve => socket.emit(event, argument, resolve));

// The last is what the client does by itself: it begins by polling and goes over to a WebSocket.
const ways = [['websocket'], ['polling'], ['polling', 'websocket']];
const cases = Object.keys(clients).flatMap(version => ways.map(transports => ({version, transports})));

for (const way of cases) {
  describe(`${way.version} over ${way.transports.join(', then ')}`, () => {
    test('objects are requests of Sails 1.x', async t => {
      const [socket, other] = [await connect(t, way), await connect(t, way)];
      const name = resource();
      const pushes = new Pushes(push => socket.on(name, push));
      assert.deepEqual((await ask(socket, 'get', {url: `/${name}`})).body, []);
      const {body: made, statusCode} = await ask(other, 'post', {url: `/${name}`, data: {title: 'Milk'}});
      assert.deepEqual([made.title, statusCode], ['Milk', 200]);
      assert.deepEqual(await pushes.count(1), [[{verb: 'created', id: 1, data: made}]]);
      const missing = await ask(socket, 'get', {url: `/${name}/9`});
      assert.deepEqual([missing.statusCode, missing.body.code], [404, 'E_NOT_FOUND']);
    });

    test('text other than ASCII arrives both ways', async t => {
      const [socket, other] = [await connect(t, way), await connect(t, way)];
      const [name, title] = [resource(), 'a ä Ã¤ € 😀 • "\\'];
      const pushes = new Pushes(push => socket.on(name, push));
      await ask(socket, 'get', {url: `/${name}`});
      const {body: made} = await ask(other, 'post', {url: `/${name}`, data: {title}});
      assert.equal(made.title, title);
      assert.deepEqual(await pushes.count(1), [[{verb: 'created', id: 1, data: made}]]);
      assert.deepEqual((await overHttp('GET', `/${name}/1`)).body, made);
      assert.deepEqual((await ask(socket, 'get', {url: `/${name}?title=${title}`})).body, [made]);
      assert.deepEqual(JSON.parse(await ask(await connect(t, way), 'get', JSON.stringify({url: `/${name}`}))), [made]);
    });

    test('JSON in a string is a request of Sails 0.9', async t => {
      const [socket, other] = [await connect(t, way), await connect(t, way)];
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
