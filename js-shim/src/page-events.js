// Events of the page
// ------------------

// Passes events of the window and its document on to the runtime. Returns a function that removes
// the listeners.
//
// After `pagehide` the browser may restore the page from its cache. If it does not, the pending
// writes are kept for the next page.
export function listenToPage(page, runtime) {
  const online = () => runtime.client.online();
  const offline = () => runtime.client.offline();
  const listeners = {
    online, offline, pageshow: online, pagehide: offline,
    error: ({error}) => { if (runtime.isTrap(error) && !runtime.client.isWell()) runtime.fail(error); },
    // Some browsers report only the scheme or the origin of the blocked url.
    securitypolicyviolation: ({blockedURI}) => { if (runtime.server.socket.startsWith(blockedURI)) runtime.explain('blockedByPolicy'); }
  };
  const each = how => {
    for (const type in listeners) (type[0] === 's' ? page.document : page)?.[how]?.(type, listeners[type]);
  };
  each('addEventListener');
  return () => each('removeEventListener');
}
