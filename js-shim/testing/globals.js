// Globals while there is a fake server
// ------------------------------------
//
// The runtime opens its connections with `WebSocket`, and uses `fetch` while it cannot. Both are
// replaced on the global object, so that it does not matter which build of Backwire a page has.

import {makeStorage} from './storage.js';

// The path may be any: see the option `path` of `install`.
const IS_SOCKET = /\/\?EIO=4&transport=websocket$/;

// Replaces the globals. `restore` of the result puts them back, and `wake` tells the runtime that
// there is a network. Other WebSockets and requests go to the
// original.
export function replaceGlobals(server) {
  const {WebSocket, fetch} = globalThis;
  const page = globalThis.addEventListener ? null : new EventTarget();
  const replaced = {
    WebSocket: webSocketFor(server, WebSocket),
    ...fetch && {fetch: (...args) => (server.isCutOff(args[0]) ? Promise.reject(new TypeError('Failed to fetch')) : fetch.apply(globalThis, args))},
    // Node has no window. The runtime listens to its event `online`.
    // Nor a storage, in which the runtime keeps writes that wait.
    ...!('localStorage' in globalThis) && {localStorage: makeStorage()},
    ...page && {addEventListener: page.addEventListener.bind(page), removeEventListener: page.removeEventListener.bind(page)}
  };
  const originals = Object.fromEntries(Object.keys(replaced).map(name => [name, Object.getOwnPropertyDescriptor(globalThis, name)]));
  for (const name in replaced) define(name, {value: replaced[name], writable: true, configurable: true});
  return {
    wake: () => (page ?? globalThis).dispatchEvent(new Event('online')),
    restore() {
      for (const name in originals) define(name, originals[name]);
    }
  };
}

function define(name, descriptor) {
  if (descriptor) Object.defineProperty(globalThis, name, descriptor);
  else delete globalThis[name];
}

function webSocketFor(server, Original) {
  function FakeWebSocket(url, ...rest) {
    return IS_SOCKET.test(url) ? server.connect(String(url)) : new Original(url, ...rest);
  }
  // A page may compare `readyState` with these.
  return Object.assign(FakeWebSocket, {CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3}, Original && {prototype: Original.prototype});
}
