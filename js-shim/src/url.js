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

// Queries
// -------

// Adds `data` to a path, as jQuery does for a GET.
export function withQuery(path, data, traditional) {
  if (data == null) return path;
  const query = typeof data === 'string' ? data : param(data, traditional);
  return query ? path + (path.includes('?') ? '&' : '?') + query : path;
}

// `{a: {b: 1}, c: [2]}` is `a[b]=1&c[]=2`, percent-encoded; `traditional` lists are `c=2`.
export function param(data, traditional) {
  const pairs = [];
  for (const [name, value] of Object.entries(data)) addPairs(pairs, name, value, traditional);
  return pairs.join('&');
}

function addPairs(pairs, name, value, traditional) {
  if (typeof value === 'function') value = value();
  if (Array.isArray(value)) {
    const list = name.replace(/\[\]$/, '');
    const inner = (item, index) => traditional ? name : `${list}[${isNested(item) ? index : ''}]`;
    value.forEach((item, index) => addPairs(pairs, inner(item, index), item, traditional));
  } else if (isNested(value) && !traditional) {
    for (const key of Object.keys(value)) addPairs(pairs, `${name}[${key}]`, value[key]);
  } else {
    pairs.push(encodeURIComponent(name) + '=' + encodeURIComponent(value ?? ''));
  }
}

function isNested(value) {
  return Array.isArray(value) || Object.prototype.toString.call(value) === '[object Object]';
}
