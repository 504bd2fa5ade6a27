// The stock client, and what a test asks of it
// --------------------------------------------
//
// `socket.io-client` as npm has it. It says nothing of Backwire, so it is spoken to in the Sails
// 1.x dialect: requests are objects, pushes are events named after the resource.

import {io} from 'socket.io-client';

export const server = process.env.BACKWIRE_TEST_SERVER;
if (!server) {
  throw new Error('BACKWIRE_TEST_SERVER is not set: `cargo test -p backwire-tests` starts a server and sets it');
}

// Connects over one transport. The connection ends with the test.
export async function connect(test, transport = 'websocket') {
  const socket = io(server, {transports: [transport], forceNew: true, reconnection: false});
  test.after(() => socket.disconnect());
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('connect_error', reject));
  return new Client(socket);
}

export class Client {
  constructor(socket) {
    this.socket = socket;
    // All pushes so far, as `[event, ...arguments]`.
    this.pushes = [];
    socket.onAny((...push) => this.pushes.push(push));
  }

  // One request and its one answer.
  request(verb, url, data) {
    return this.say(verb, {url, data});
  }

  // Any event, with any one argument.
  say(event, argument) {
    return this.socket.timeout(10_000).emitWithAck(event, argument);
  }

  // Waits until there are so many pushes, and returns them.
  async pushed(count) {
    while (this.pushes.length < count) await this._nextPush();
    return this.pushes;
  }

  _nextPush() {
    return new Promise((resolve, reject) => {
      const {socket} = this;
      const settle = end => () => {
        clearTimeout(timer);
        socket.offAny(onPush);
        end();
      };
      const onPush = settle(resolve);
      const late = () => reject(new Error(`no further push; so far: ${JSON.stringify(this.pushes)}`));
      const timer = setTimeout(settle(late), 10_000);
      // After the listener of the constructor, which was there first.
      socket.onAny(onPush);
    });
  }
}

// A resource that no other test uses.
let count = 0;
export function resource() {
  return `stock${process.pid}n${++count}`;
}

// The same over HTTP.
export async function overHttp(method, url, data) {
  const response = await fetch(server + url, {
    method,
    headers: {'content-type': 'application/json'},
    body: data && JSON.stringify(data)
  });
  return {statusCode: response.status, body: await response.json()};
}
