// Urls
// ----

const ABSOLUTE = /^\s*([a-z][a-z\d+.-]*:|[/\\]{2})/i;

// Urls that resolving leaves unchanged for every page. Nearly all urls match.
const SIMPLE = /^\/(?!\/)[\w~%/?=&,:@+-]*$/;

// The origin and the web socket address of a server, from any url of it and its path of Socket.IO.
export function serverAt(url, page, path = '/socket.io') {
  const {origin} = new URL(url, page);
  const {pathname} = new URL(`/${path}/`.replace(/\/{2,}/g, '/'), origin);
  return {origin, socket: `${origin.replace(/^http/, 'ws')}${pathname}?EIO=4&transport=websocket`};
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

// The parts of a path with a query: `/todo/7`, `?x=1` and its segments of `/todo/7/?x=1`. The path
// has no slash at its end.
export function partsOf(url) {
  const [, path, query = ''] = /^([^?]*?)\/*(\?[^]*)?$/.exec(url);
  return {path, query, segments: path.split('/')};
}

// The path without its query, in lower case: `/todo` of `/TODO/?sort=n`. The server finds resources
// by it.
export function plainPath(url) {
  return partsOf(url).path.toLowerCase();
}
