// Whose url is it?
// ----------------

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

// Queries
// -------

// Adds `data` to a path, as jQuery does for a GET. Its own `$.param` is used where it is there.
export function withQuery(path, data, $, traditional) {
  if (data == null) return path;
  const query = typeof data === 'string' ? data : $ && $.param ? $.param(data, traditional) : param(data);
  return query ? path + (path.includes('?') ? '&' : '?') + query : path;
}

// `{a: {b: 1}, c: [2]}` is `a[b]=1&c[]=2`, percent-encoded.
export function param(data) {
  const pairs = [];
  for (const [name, value] of Object.entries(data)) addPairs(pairs, name, value);
  return pairs.join('&');
}

function addPairs(pairs, name, value) {
  if (typeof value === 'function') value = value();
  if (Array.isArray(value)) {
    const list = name.replace(/\[\]$/, '');
    value.forEach((item, index) => addPairs(pairs, `${list}[${isNested(item) ? index : ''}]`, item));
  } else if (isNested(value)) {
    for (const key of Object.keys(value)) addPairs(pairs, `${name}[${key}]`, value[key]);
  } else {
    pairs.push(encodeURIComponent(name) + '=' + encodeURIComponent(value ?? ''));
  }
}

function isNested(value) {
  return Array.isArray(value) || Object.prototype.toString.call(value) === '[object Object]';
}
