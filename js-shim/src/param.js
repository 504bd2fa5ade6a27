// Query strings
// -------------

import {partsOf} from './url.js';

// Adds `data` to a path, as jQuery does for a GET.
export function withQuery(path, data, traditional) {
  if (data == null) return path;
  const query = typeof data === 'string' ? data : param(data, traditional);
  return query ? path + (partsOf(path).query ? '&' : '?') + query : path;
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
