// The generations of Socket.IO's client, unmodified, in the ways that each of them says who it is
// ----------------------------------------------------------------------------------------------

import {createRequire} from 'node:module';
import {io} from 'socket.io-client';
import {server} from './client.mjs';

const require = createRequire(import.meta.url);
const firstIo = require('socket.io-client-1');
export const oldIo = require('socket.io-client-2');
const thirdIo = require('socket.io-client-3').io;

// One, two, three and four bytes of UTF-8; the last is two units of UTF-16, and "Ã¤" is what a
// byte-wise reading of "ä" gives.
export const text = 'a ä Ã¤ € 😀 "\\';

// As the pages of the SocketIO Web Service do it. To Socket.IO 3 and later, a `+` is no space.
const onUrl = io => (site, said, options) => {
  const query = Object.entries(said).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return io(`${server}/${site}?${query.join('&')}`, options);
};
const inQuery = io => (site, query, options) => io(`${server}/${site}`, {query, ...options});
const inAuth = io => (site, auth, options) => io(`${server}/${site}`, {auth, ...options});

// `refused` is the event of a refusal: with a string in the first two generations, with an error in
// the later ones.
export const generations = [
  {name: 'socket.io-client 1.7', open: onUrl(firstIo), refused: 'error'},
  {name: 'socket.io-client 1.7 with {query}', open: inQuery(firstIo), refused: 'error'},
  {name: 'socket.io-client 2.5', open: onUrl(oldIo), refused: 'error'},
  {name: 'socket.io-client 2.5 with {query}', open: inQuery(oldIo), refused: 'error'},
  {name: 'socket.io-client 3.1', open: onUrl(thirdIo), refused: 'connect_error'},
  {name: 'socket.io-client 3.1 with {auth}', open: inAuth(thirdIo), refused: 'connect_error'},
  {name: 'socket.io-client 4.8', open: onUrl(io), refused: 'connect_error'},
  {name: 'socket.io-client 4.8 with {auth}', open: inAuth(io), refused: 'connect_error'}
];
