// Urls
// ----

const ABSOLUTE = /^\s*([a-z][a-z\d+.-]*:|[/\\]{2})/i;

// What resolving would leave as it is, wherever the page is: nearly every url there is.
const SIMPLE = /^\/(?!\/)[\w~%/?=&,:@+-]*$/;

// The origin and the web socket address of a server, from any url of it.
export function serverAt(url, page) {
  const {origin} = new URL(url, page);
  return {origin, socket: origin.replace(/^http/, 'ws') + '/socket.io/?EIO=4&transport=websocket'};
}

// Path and query of a url that is ours, or `null`. A relative url is resolved against the document,
// as jQuery does, and is then asked of our server, wherever the page came from. An absolute url is
// ours if it names our server.
export function pathOf(url, page, origin) {
  if (SIMPLE.test(url)) return url;
  try {
    const {origin: named, pathname, search} = new URL(url, page);
    return ABSOLUTE.test(url) && named !== origin ? null : pathname + search;
  } catch {
    return null;
  }
}

// The path without its query, in the one spelling that resources have: `/todo` of `/TODO/?sort=n`.
export function plainPath(url) {
  return url.replace(/\?.*/, '').replace(/\/+$/, '').toLowerCase();
}

// The url of something below another: `/todo/7?x=1` of `/todo?x=1` and `7`.
export function below(url, id) {
  const [, path, query = ''] = /^([^?]*?)\/?(\?.*)?$/.exec(url);
  return `${path}/${encodeURIComponent(id)}${query}`;
}
