// Urls
// ----

const ABSOLUTE = /^\s*([a-z][a-z\d+.-]*:|[/\\]{2})/i;

// Urls that resolving leaves unchanged for every page. Nearly all urls match.
const SIMPLE = /^\/(?!\/)[\w~%/?=&,:@+-]*$/;

// The origin and the web socket address of a server, from any url of it.
export function serverAt(url, page) {
  const {origin} = new URL(url, page);
  return {origin, socket: origin.replace(/^http/, 'ws') + '/socket.io/?EIO=4&transport=websocket'};
}

// The path and query of a url of the server, or `null`. A relative url is resolved against the
// document, as in jQuery, and its path is then requested from the server, whatever the page's
// origin. An absolute url has to name the server.
export function pathOf(url, page, origin) {
  if (SIMPLE.test(url)) return url;
  try {
    const {origin: named, pathname, search} = new URL(url, page);
    return ABSOLUTE.test(url) && named !== origin ? null : pathname + search;
  } catch {
    return null;
  }
}

// The path without its query, in lower case and without a slash at its end: `/todo` of
// `/TODO/?sort=n`.
export function plainPath(url) {
  return url.replace(/\?.*/, '').replace(/\/+$/, '').toLowerCase();
}

// The url of something below another: `/todo/7?x=1` of `/todo?x=1` and `7`.
export function below(url, id) {
  const [, path, query = ''] = /^([^?]*?)\/?(\?.*)?$/.exec(url);
  return `${path}/${encodeURIComponent(id)}${query}`;
}
