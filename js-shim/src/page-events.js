// Events of the page
// ------------------

// Passes events of the window and its document on to the runtime. Returns a function that removes
// the listeners.
//
// A browser keeps a page without connections in its cache, and restores it when the user comes
// back. If it does not, the pending writes are kept for the next page. A page that is shown again,
// from the cache or in its tab, may have slept, and its connection may have failed unnoticed.
export function listenToPage(page, runtime) {
  const wake = () => runtime.client.wake();
  const listeners = {
    online: wake, pageshow: wake,
    visibilitychange: () => page.document.hidden || wake(),
    offline: () => runtime.client.reconnect(),
    pagehide: () => {
      if (runtime.sharing) runtime.sharing.isLeft = true;
      runtime.client.park();
    },
    error: ({error}) => { if (runtime.isTrap(error) && !runtime.client.isWell()) runtime.fail(error); },
    // Some browsers report only the scheme or the origin of the blocked url.
    securitypolicyviolation: ({blockedURI}) => { if (runtime.server.socket.startsWith(blockedURI)) runtime.explain('blockedByPolicy'); }
  };
  const each = how => {
    for (const type in listeners) (/^[sv]/.test(type) ? page.document : page)?.[how]?.(type, listeners[type]);
  };
  each('addEventListener');
  return () => each('removeEventListener');
}
