// The Sails 1.x dialect, spoken by the stock client
// -------------------------------------------------

import assert from 'node:assert/strict';
import {describe, test} from 'node:test';
import {connect, overHttp, resource} from './client.mjs';

for (const transport of ['websocket', 'polling']) {
  describe(`over ${transport}`, () => {
    test('records are made, read, changed and destroyed', async t => {
      const client = await connect(t, transport);
      const name = resource();
      const made = await client.request('post', `/${name}`, {title: 'Milk', done: false});
      assert.equal(made.statusCode, 200);
      assert.equal(made.body.id, 1);
      assert.equal(made.body.title, 'Milk');
      const patched = await client.request('patch', `/${name}/1`, {done: true});
      assert.equal(patched.statusCode, 200);
      assert.deepEqual([patched.body.title, patched.body.done], ['Milk', true]);
      await client.request('put', `/${name}/1`, {title: 'Oat milk'});
      const one = await client.request('get', `/${name}/1`);
      assert.deepEqual([one.body.title, one.body.done], ['Oat milk', true]);
      await client.request('post', `/${name}`, {title: 'Eggs'});
      const all = await client.request('get', `/${name}`);
      assert.deepEqual(all.body.map(record => record.title), ['Oat milk', 'Eggs']);
      const gone = await client.request('delete', `/${name}/1`);
      assert.equal(gone.statusCode, 200);
      assert.equal((await client.request('get', `/${name}/1`)).statusCode, 404);
    });

    test('what others do is pushed', async t => {
      const [client, other] = [await connect(t, transport), await connect(t, transport)];
      const name = resource();
      await client.request('get', `/${name}`);
      const {body: made} = await other.request('post', `/${name}`, {title: 'Milk'});
      const {body: changed} = await other.request('patch', `/${name}/1`, {title: 'Oat milk'});
      await other.request('delete', `/${name}/1`);
      assert.deepEqual(await client.pushed(3), [
        [name, {verb: 'created', id: 1, data: made}],
        [name, {
          verb: 'updated', id: 1,
          data: {title: 'Oat milk', updatedAt: changed.updatedAt, id: 1}, previous: made
        }],
        [name, {verb: 'destroyed', id: 1, previous: changed}]
      ]);
    });
  });
}

test('what one does oneself is not pushed', async t => {
  const [client, other] = [await connect(t), await connect(t)];
  const name = resource();
  await client.request('get', `/${name}`);
  await client.request('post', `/${name}`, {title: 'Milk'});
  await client.request('patch', `/${name}/1`, {title: 'Oat milk'});
  await client.request('delete', `/${name}/1`);
  // Pushes come in commit order, so if there were any of one's own they would come before this one.
  await other.request('post', `/${name}`, {title: 'Eggs'});
  const pushes = await client.pushed(1);
  assert.deepEqual(pushes.map(([, {verb, id}]) => [verb, id]), [['created', 2]]);
});

test('what is done over HTTP is pushed, and answered alike', async t => {
  const client = await connect(t);
  const name = resource();
  await client.request('get', `/${name}`);
  const {body: made} = await overHttp('POST', `/${name}`, {title: 'Milk'});
  const [[event, push]] = await client.pushed(1);
  assert.deepEqual([event, push.verb, push.data], [name, 'created', made]);
  assert.deepEqual((await client.request('get', `/${name}/1`)).body, made);
  const [socketSays, httpSays] = [await client.request('get', `/${name}/9`), await overHttp('GET', `/${name}/9`)];
  assert.equal(socketSays.statusCode, httpSays.statusCode);
  assert.deepEqual(socketSays.body, httpSays.body);
});

test('who has read one record hears of that one', async t => {
  const [client, other] = [await connect(t), await connect(t)];
  const name = resource();
  for (const title of ['Milk', 'Eggs']) await other.request('post', `/${name}`, {title});
  await client.request('get', `/${name}/1`);
  await other.request('patch', `/${name}/2`, {title: 'Six eggs'});
  await other.request('post', `/${name}`, {title: 'Bread'});
  await other.request('patch', `/${name}/1`, {title: 'Oat milk'});
  const pushes = await client.pushed(1);
  assert.deepEqual(pushes.map(([, {verb, id}]) => [verb, id]), [['updated', 1]]);
});

test('five hundred requests are carried out in the order they were made', async t => {
  const [client, other] = [await connect(t), await connect(t)];
  const name = resource();
  await other.request('get', `/${name}`);
  const titles = Array.from({length: 500}, (_, index) => `todo ${index}`);
  const create = title => client.request('post', `/${name}`, {title});
  // Together they would be more than one connection may have in flight.
  const replies = [
    ...await Promise.all(titles.slice(0, 250).map(create)),
    ...await Promise.all(titles.slice(250).map(create))
  ];
  assert.deepEqual(replies.map(({body}) => body.title), titles);
  assert.deepEqual(replies.map(({body}) => body.id), titles.map((_, index) => index + 1));
  const pushes = await other.pushed(500);
  assert.deepEqual(pushes.map(([, {data}]) => data.title), titles);
});

describe('a refusal has a status and a reason', () => {
  const name = resource();
  const refusals = [
    ['a record that is not there', 'get', {url: `/${name}/77`}, 404, 'E_NOT_FOUND'],
    ['a resource that can be none', 'get', {url: '/no.such!thing'}, 404, 'E_NOT_FOUND'],
    ['no url', 'get', {}, 400, 'E_BAD_URL'],
    ['a url that is none', 'get', {url: 'todo'}, 400, 'E_BAD_URL'],
    ['an update without an id', 'put', {url: `/${name}`, data: {}}, 400, 'E_NO_ID'],
    ['a body that is no object', 'post', {url: `/${name}`, data: [1]}, 400, 'E_BAD_BODY'],
    ['an event that is no verb', 'fetch', {url: `/${name}`}, 405, 'E_UNKNOWN_VERB'],
    ['a body of 2 MB', 'post', {url: `/${name}`, data: {title: 'x'.repeat(2 << 20)}}, 413, 'E_TOO_LARGE']
  ];
  for (const [what, event, argument, statusCode, code] of refusals) {
    test(what, async t => {
      const client = await connect(t);
      const reply = await client.say(event, argument);
      assert.equal(reply.statusCode, statusCode);
      assert.equal(reply.body.code, code);
      assert.ok(reply.body.message.length > 10, reply.body.message);
      // And the connection goes on.
      assert.equal((await client.request('get', `/${name}`)).statusCode, 200);
    });
  }
});
