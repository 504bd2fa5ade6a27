// sails.io.js 1.2.1 and 0.13.8, as npm has them
// ---------------------------------------------

import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {describe, test} from 'node:test';
import vm from 'node:vm';
import {overHttp, resource, server} from './client.mjs';
import {Pushes} from './pushes.mjs';

const require = createRequire(import.meta.url);
// Each with the generation of Socket.IO that it was made for.
const clients = {
  '1.2.1': require('sails.io.js')(require('socket.io-client-2')).sails,
  '0.13.8': require('sails.io.js-0.13')(require('socket.io-client-1')).sails
};
for (const client of Object.values(clients)) Object.assign(client, {autoConnect: false, environment: 'production'});

async function connect(t, transports = ['websocket'], version = '1.2.1') {
  const socket = clients[version].connect(server, {transports, multiplex: false});
  t.after(() => socket.disconnect());
  await new Promise((resolve, reject) => {
    socket.on('connect', resolve);
    socket.on('connect_error', reject);
  });
  return socket;
}

// One request, by the function of its verb, and the arguments of its callback. 0.13 has no
// function for PATCH.
function ask(socket, verb, url, data) {
  return new Promise(resolve => {
    const end = (body, jwr) => resolve({body, jwr});
    if (socket[verb]) socket[verb](url, data, end);
    else socket.request({method: verb, url, data}, end);
  });
}

const cases = Object.keys(clients).flatMap(version => {
  return [['websocket'], ['polling'], ['polling', 'websocket']].map(transports => [version, transports]);
});

for (const [version, transports] of cases) {
  describe(`${version} over ${transports.join(', then ')}`, () => {
    test('every verb is answered', async t => {
      const socket = await connect(t, transports, version);
      const name = resource();
      const {body: made, jwr} = await ask(socket, 'post', `/${name}`, {title: 'Milk'});
      assert.deepEqual([jwr.statusCode, Boolean(jwr.error), made.id, made.title], [200, false, 1, 'Milk']);
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
      const [socket, other] = [await connect(t, transports, version), await connect(t, transports, version)];
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

    test('text other than ASCII arrives both ways', async t => {
      const [socket, other] = [await connect(t, transports, version), await connect(t, transports, version)];
      const [name, title] = [resource(), 'a ä Ã¤ € 😀 • "\\'];
      const pushes = new Pushes(push => other.on(name, push));
      assert.deepEqual((await ask(other, 'get', `/${name}`, {})).body, []);
      const {body: made} = await ask(socket, 'post', `/${name}`, {title, [title]: title});
      assert.deepEqual([made.title, made[title]], [title, title]);
      assert.deepEqual(await pushes.count(1), [[{verb: 'created', id: 1, data: made}]]);
      assert.deepEqual((await overHttp('GET', `/${name}/1`)).body, made);
      assert.deepEqual((await ask(other, 'get', `/${name}?title=${encodeURIComponent(title)}`, {})).body, [made]);
      assert.deepEqual((await ask(other, 'get', `/${name}`, {where: {title: {contains: '€'}}})).body, [made]);
    });

    test('a refusal is an error of the response', async t => {
      const socket = await connect(t, transports, version);
      const {body, jwr} = await ask(socket, 'get', `/${resource()}/7`, {});
      assert.deepEqual([jwr.statusCode, body.code], [404, 'E_NOT_FOUND']);
      assert.ok(version.startsWith('0.') ? jwr.error : jwr.error instanceof Error);
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
