// The stock client at another path
// --------------------------------
//
// Against an axum app that has the server below `/live`.

import assert from 'node:assert/strict';
import {test} from 'node:test';
import {io} from 'socket.io-client';
import {Client, server} from './client.mjs';

for (const transport of ['websocket', 'polling']) {
  test(`stock client over ${transport} has the urls of HTTP`, async test => {
    const socket = io(server, {path: '/live/socket.io/', transports: [transport], forceNew: true, reconnection: false});
    test.after(() => socket.disconnect());
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('connect_error', reject));
    const client = new Client(socket);
    const created = await client.request('post', '/live/todo', {title: transport});
    assert.equal(created.statusCode, 200);
    const read = await fetch(`${server}/live/todo/${created.body.id}`);
    assert.equal((await read.json()).title, transport);
    assert.equal((await client.request('get', '/todo')).statusCode, 404);
  });
}
