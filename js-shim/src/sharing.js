// One connection for the tabs of a browser
// ----------------------------------------
//
// With the option `shared`, the part `shared` opens the connections of the core: see
// `shared-connection.js`.

import {VERSION} from './wire.js';

// A page with auth has a connection of its own. So has each tab where there are no Web Locks (plain
// http) or no BroadcastChannel.
export function canShare({navigator, BroadcastChannel}, isWanted) {
  return Boolean(isWanted && BroadcastChannel && navigator?.locks);
}

// Opens a connection for all tabs with this server and identity, or, if the part cannot be loaded,
// one for this tab.
export function openShared({page, use, identity, sharing}, url, openSocket) {
  const name = `backwire shared ${VERSION} ${url} ${encodeURIComponent(identity)}`;
  return openLater((done, fail) => use('shared', part => {
    try {
      done(part ? new part.SharedConnection(page, name, sharing, openSocket) : openSocket());
    } catch {
      // Later, because the core may not have set its listeners.
      Promise.resolve().then(fail);
    }
  }));
}

// A connection that `open(done, fail)` opens later. It has what the core uses of a WebSocket.
function openLater(open) {
  let socket;
  let isClosed;
  const connection = {
    send: frame => socket?.send(frame),
    close() {
      isClosed = true;
      socket?.close();
    }
  };
  const fail = () => connection.onclose?.({});
  open(opened => {
    if (isClosed) return opened.close();
    socket = opened;
    socket.onmessage = ({data}) => connection.onmessage?.({data});
    socket.onclose = fail;
  }, fail);
  return connection;
}
