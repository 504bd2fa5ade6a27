// Frames on the console
// ---------------------

import assert from 'node:assert/strict';
import {mock, test} from 'node:test';

import {described} from '../src/debug-part.js';
import {fakePage, start} from '../fakes/page.js';

const requests = new Map();
for (const [text, expected] of [
  ['0{"sid":"a"}', ['open', {sid: '(not logged)'}]],
  ['2', ['ping']],
  ['3', ['pong']],
  ['40{"site":"shop","token":"secret"}', ['connect']],
  ['40{"sid":"b"}', ['connected']],
  ['44{"message":"E_SITE: no such site"}', ['refused', {message: 'E_SITE: no such site'}]],
  ['4212["post",{"url":"/todo","headers":{"a":"b"},"data":{"title":"Milk"}}]', ['12 POST /todo', {a: 'b'}, {title: 'Milk'}]],
  ['4215["get",{"url":"/todo","headers":{"authorization":"Bearer secret","X-CSRF-Token":"secret","a":"b"}}]',
    ['15 GET /todo', {authorization: '(not logged)', 'X-CSRF-Token': '(not logged)', a: 'b'}]],
  ['4312[{"statusCode":201,"body":{"id":1},"headers":{"c":"d"}}]', ['12 201 POST /todo (0 ms)', {c: 'd'}, {id: 1}]],
  ['4313[{"statusCode":404}]', ['13 404 request (0 ms)']],
  ['42["push","todo",7,5,[[6,1,3,{"title":"Eggs"},0],[7,3,3,null,0]]]', ['push todo', '6: created 3', {title: 'Eggs'}, '7: destroyed 3', null]],
  ['42["push","",0,0,[[0,0,"9",["news",{"n":1}],0]]]', ['events for the user', ['news', {n: 1}]]],
  ['4214["resume",[["todo",7,5,5],["cart/3",7,2]]]', ['14 resume', 'todo after 5', 'cart/3 after 2']],
  ['4314[[["todo",7,9,[[6,1,3,{},0]]],["cart/3",null]]]', ['14 resume (0 ms)', 'todo: 1 change to 9', 'cart/3: to be read again']],
  ['42["unsubscribe","todo"]', ['unsubscribe', 'todo']],
  ['what is this', ['another frame, 12 characters']],
  // Values with the name of a secret, wherever they are.
  ['4216["get",{"url":"/todo?access_token=secret&n=1&where=%7B%22password%22%3A%22secret%22%2C%22n%22%3A1%7D&filter[apiKey]=secret"}]',
    ['16 GET /todo?access_token=(not logged)&n=1&where={"password":"(not logged)","n":1}&filter[apiKey]=(not logged)']],
  ['4217["post",{"url":"/login","data":{"name":"Ann","password":"secret","_csrf":"secret","more":[{"apiKey":"secret","n":1}],"where":"{\\"token\\":\\"secret\\"}"}}]',
    ['17 POST /login', {name: 'Ann', password: '(not logged)', _csrf: '(not logged)', more: [{apiKey: '(not logged)', n: 1}], where: '{"token":"(not logged)"}'}]],
  ['4317[{"statusCode":200,"headers":{"set-cookie":"sid=secret","location":"/a?token=secret"},"body":{"user":{"accessToken":"secret","author":"Ann"}}}]',
    ['17 200 POST /login (0 ms)', {'set-cookie': '(not logged)', location: '/a?token=(not logged)'}, {user: {accessToken: '(not logged)', author: 'Ann'}}]],
  ['42["push","user?{\\"token\\":[\\"secret\\"]}",7,5,[[6,2,3,{"resetToken":"secret","n":1},0]]]',
    ['push user?(not logged)', '6: updated 3', {resetToken: '(not logged)', n: 1}]],
  ['42["push","",0,0,[[0,0,"9",["signed-in",{"session":"secret","text":"Bearer secret"}],0]]]',
    ['events for the user', ['signed-in', {session: '(not logged)', text: 'Bearer (not logged)'}]]],
  ['44{"message":"E_TOKEN: no","data":{"token":"secret"}}', ['refused', {message: 'E_TOKEN: no', data: {token: '(not logged)'}}]],
  ['42["unsubscribe","todo?{\\"done\\":[false]}"]', ['unsubscribe', 'todo?{"done":[false]}']]
]) {
  test(`a frame is described: ${text.slice(0, 40)}`, () => assert.deepEqual(described(text, requests), expected));
}

test('debug logs the frames of this connection and of later ones, until it is ended', async () => {
  const lines = [];
  const log = mock.method(console, 'log', (...parts) => lines.push(parts.join(' ')));
  const sockets = [];
  const page = Object.assign(fakePage(), {WebSocket: class extends EventTarget {
    constructor() {
      super();
      this.sent = [];
      sockets.push(this);
    }
    send(text) { this.sent.push(text); }
    close() {}
  }});
  const received = [];
  const {Backwire, client} = start({page});
  const open = () => {
    const socket = client.listener.open('ws://app.test/');
    socket.onmessage = ({data}) => received.push(data);
    socket.onclose = () => received.push('closed');
    return socket;
  };
  const first = open();
  first.onmessage({data: '2'});
  Backwire.debug();
  first.send('3');
  first.onmessage({data: '2'});
  first.onclose({});
  const second = open();
  await null;
  second.send('3');
  second.send = text => received.push(`replaced ${text}`);
  second.send('3');
  Backwire.debug(false);
  second.send('3');
  second.onmessage({data: '2'});
  assert.deepEqual(lines, ['Backwire → pong', 'Backwire ← ping', 'Backwire closed by the other side or the network', 'Backwire → pong', 'Backwire → pong']);
  assert.deepEqual([sockets.map(({sent}) => sent), received], [[['3'], ['3']], ['2', '2', 'closed', 'replaced 3', 'replaced 3', '2']]);
  log.mock.restore();
});

test('a frame that cannot be described is not logged, and reaches the client', async () => {
  const lines = [];
  for (const name of ['log', 'error']) mock.method(console, name, (...parts) => lines.push(parts.join(' ')));
  const {Backwire, client} = start({page: Object.assign(fakePage(), {WebSocket: class extends EventTarget {}})});
  const socket = client.listener.open('ws://app.test/');
  const received = [];
  socket.onmessage = ({data}) => received.push(data);
  socket.onclose = () => {};
  Backwire.debug();
  socket.onmessage({data: '42["push","todo",{"token":"secret'});
  mock.restoreAll();
  assert.deepEqual([lines, received.length], [['Backwire: a frame could not be logged'], 1]);
});

test('a console that throws does not keep the end of a connection from the client', () => {
  mock.method(console, 'log', () => { throw new Error('of the console'); });
  const error = mock.method(console, 'error', () => {});
  const {Backwire, client} = start({page: Object.assign(fakePage(), {WebSocket: class extends EventTarget {}})});
  const socket = client.listener.open('ws://app.test/');
  const received = [];
  socket.onmessage = () => {};
  socket.onclose = () => received.push('closed');
  Backwire.debug();
  socket.onclose({});
  const count = error.mock.callCount();
  mock.restoreAll();
  assert.deepEqual([received, count], [['closed'], 1]);
});
