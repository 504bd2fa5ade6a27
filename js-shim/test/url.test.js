// Urls and queries
// ----------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {realJquery} from '../fakes/jquery.js';
import {param, withQuery} from '../src/param.js';
import {pathOf, serverAt} from '../src/url.js';

test('the socket is at the origin of any url of the server', () => {
  assert.deepEqual(serverAt('https://host:8443/static/backwire.js?v=1', 'http://page.test/'),
    {origin: 'https://host:8443', socket: 'wss://host:8443/socket.io/?EIO=4&transport=websocket'});
  assert.equal(serverAt('/', 'http://page.test/a/b').origin, 'http://page.test');
});

test('the socket is at the path of Socket.IO, with or without slashes at its ends', () => {
  for (const path of ['/api/socket.io', '/api/socket.io/', 'api/socket.io', '//api/socket.io/']) {
    assert.equal(serverAt('http://host/', 'http://page.test/', path).socket, 'ws://host/api/socket.io/?EIO=4&transport=websocket');
  }
});

test('paths are resolved as the document resolves them', () => {
  const path = url => pathOf(url, 'http://page.test/a/b?c#d', 'http://server.test');
  assert.deepEqual(['todo', '/todo/', './x?y=1#z', '../../todo', '/a:b', '/ä ö', '?x=1'].map(path),
    ['/a/todo', '/todo/', '/a/x?y=1', '/todo', '/a:b', '/%C3%A4%20%C3%B6', '/a/b?x=1']);
});

test('absolute urls belong to the server if they name its origin', () => {
  const path = url => pathOf(url, 'http://page.test/a/b', 'http://server.test');
  assert.deepEqual(['http://server.test/x', 'HTTP://SERVER.TEST:80/x', '//server.test/x'].map(path), Array(3).fill('/x'));
  assert.deepEqual(['http://page.test/x', 'https://server.test/x', '//page.test/x', 'http://server.test:81/', 'data:,x',
    'http://[', ' http://page.test/x', '\\\\page.test/x'].map(path), Array(8).fill(null));
});

test('a page without an origin has the paths of the server', () => {
  assert.equal(pathOf('/todo', 'file:///home/me/index.html', 'http://server.test'), '/todo');
});

test('queries are serialized as in jQuery', () => {
  const {$} = realJquery();
  const data = [
    {a: 1, b: 'x y', c: null, d: undefined, e: true, f: () => 'called', g: ''},
    {list: [1, [2, 3], {x: 4}], 'ids[]': [5, 6], deep: {a: {b: ['ä', {c: '&='}]}}, none: [], nothing: {}},
    {at: new Date(0)},
    {}
  ];
  for (const each of data) assert.equal(param(each), $.param(each));
});

test('a query is appended to an existing query', () => {
  assert.equal(withQuery('/todo', {a: 1}), '/todo?a=1');
  assert.equal(withQuery('/todo?b=2', 'a=1'), '/todo?b=2&a=1');
  assert.equal(withQuery('/todo', {}), '/todo');
  assert.equal(withQuery('/todo', undefined), '/todo');
  const {$} = realJquery();
  assert.equal(withQuery('/todo', {a: [1, 2]}, $, true), '/todo?a=1&a=2');
});

test('a simple path is the same as its resolved path', () => {
  const page = 'http://app.test/notes/index.html?x#y';
  for (const url of ['/', '/todo', '/todo/7', '/todo/a%20b', '/todo?where=%7B%7D&sort=title', '/a//b', '/todo/a:b@c,d+e~f']) {
    const {pathname, search} = new URL(url, page);
    assert.equal(pathOf(url, page, 'http://server.test'), pathname + search);
  }
});

test('a path that is not simple is resolved', () => {
  const page = 'http://app.test/notes/index.html';
  for (const [url, path] of [['/a/../todo', '/todo'], ['/todo/./7', '/todo/7'], ['/todo#x', '/todo'], ['/to do', '/to%20do']]) {
    assert.equal(pathOf(url, page, 'http://app.test'), path);
  }
});
