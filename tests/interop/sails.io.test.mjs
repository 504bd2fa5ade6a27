// sails.io.js 1.2.1, as npm has it
// --------------------------------

import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {describe, test} from 'node:test';
import vm from 'node:vm';
import {overHttp, resource, server} from './client.mjs';
import {Pushes} from './pushes.mjs';

const require = createRequire(import.meta.url);
const io = require('sails.io.js')(require('socket.io-client-2'));
io.sails.autoConnect = false;
io.sails.environment = 'production';

async function connect(t, transport = 'websocket') {
  const socket = io.sails.connect(server, {transports: [transport], multiplex: false});
  t.after(() => socket.disconnect());
  await new Promise((resolve, reject) => {
    socket.on('connect', resolve);
    socket.on('connect_error', reject);
  });
  return socket;
}

// One request, by the method of its verb; what its callback gets.
function ask(socket, verb, url, data) {
  return new Promise(resolve => socket[verb](url, data, (body, jwr) => resolve({body, jwr})));
}

for (const transport of ['websocket', 'polling']) {
  describe(`over ${transport}`, () => {
    test('every verb is answered', async t => {
      const socket = await connect(t, transport);
      const name = resource();
      const {body: made, jwr} = await ask(socket, 'post', `/${name}`, {title: 'Milk'});
      assert.deepEqual([jwr.statusCode, jwr.error, made.id, made.title], [200, undefined, 1, 'Milk']);
      const {body: patched} = await ask(socket, 'patch', `/${name}/1`, {done: true});
      assert.deepEqual([patched.title, patched.done], ['Milk', true]);
      const {body: put} = await ask(socket, 'put', `/${name}/1/`, {title: 'Oats'});
      assert.deepEqual((await ask(socket, 'get', `/${name}/1`, {})).body, put);
      assert.deepEqual((await ask(socket, 'get', `/${name}`, {title: 'Eggs'})).body, []);
      assert.deepEqual((await ask(socket, 'get', `/${name}`, {where: {title: 'Oats'}})).body, [put]);
      for (const method of ['head', 'options']) {
        const answer = new Promise(resolve => {
          socket.request({method, url: `/${name}`}, (body, jwr) => resolve(jwr));
        });
        assert.equal((await answer).statusCode, 200, method);
      }
      assert.deepEqual((await ask(socket, 'delete', `/${name}/1`, {})).body, put);
    });

    test('what others do comes as an event of the name of the resource', async t => {
      const [socket, other] = [await connect(t, transport), await connect(t, transport)];
      const name = resource();
      const pushes = new Pushes(push => socket.on(name, push));
      await ask(socket, 'get', `/${name}`, {});
      const {body: made} = await ask(other, 'post', `/${name}`, {title: 'Milk'});
      const {body: changed} = await ask(other, 'put', `/${name}/1`, {title: 'Oats'});
      await ask(other, 'delete', `/${name}/1`, {});
      assert.deepEqual(await pushes.count(3), [
        [{verb: 'created', id: 1, data: made}],
        [{verb: 'updated', id: 1, data: {title: 'Oats', updatedAt: changed.updatedAt, id: 1}, previous: made}],
        [{verb: 'destroyed', id: 1, previous: changed}]
      ]);
    });

    test('a refusal is an error of the response', async t => {
      const socket = await connect(t, transport);
      const {body, jwr} = await ask(socket, 'get', `/${resource()}/7`, {});
      assert.deepEqual([jwr.statusCode, body.code], [404, 'E_NOT_FOUND']);
      assert.ok(jwr.error instanceof Error);
    });
  });
}

test('who creates or updates a record hears what becomes of it, and not of what they do', async t => {
  const [author, editor] = [await connect(t), await connect(t)];
  const name = resource();
  const pushes = new Pushes(push => author.on(name, push));
  await ask(author, 'post', `/${name}`, {title: 'Milk'});
  await ask(author, 'put', `/${name}/1`, {title: 'Oats'});
  await ask(editor, 'put', `/${name}/1`, {title: 'Eggs'});
  const [[push]] = await pushes.count(1);
  assert.equal(push.data.title, 'Eggs');
});

test('a page of elsewhere that asks for a cookie is told to connect', async () => {
  const response = await fetch(`${server}/__getcookie`);
  assert.match(response.headers.get('content-type'), /javascript/);
  let calls = 0;
  vm.runInNewContext(await response.text(), {_sailsIoJSConnect: () => calls++});
  assert.equal(calls, 1);
});

test('what is done over HTTP arrives, too', async t => {
  const socket = await connect(t);
  const name = resource();
  const pushes = new Pushes(push => socket.on(name, push));
  await ask(socket, 'get', `/${name}`, {});
  const {body: made} = await overHttp('POST', `/${name}`, {title: 'Milk'});
  assert.deepEqual(await pushes.count(1), [[{verb: 'created', id: 1, data: made}]]);
});
