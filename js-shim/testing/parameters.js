// Parameters of reads
// -------------------
//
// The parameters in the query of a url, as the server reads them for a resource without declared
// attributes: names with brackets are objects, a repeated name is a list, and names of other APIs
// are translated or ignored.

import {Refusal} from './refusal.js';

const IGNORED = ['q', 'search', 'fields', 'include', 'expand', '_embed', '_fields', 'force', 'context', 'access_token', '_method', '_', '_csrf'];
const TRANSLATED = ['page', 'per_page', 'offset', 'order'];
const MAX_DEPTH = 16;
// The default of `per_page`.
const PAGE_LENGTH = 30;
const AMBIGUOUS = 'names with brackets set this in more than one way';
const TWICE = 'this is set by two parameters';

// Refuses a read because of a parameter or an attribute.
export function refuse(at, problem) {
  const name = [...at].slice(0, 64).map(char => (isControl(char) ? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}` : char)).join('');
  throw new Refusal(400, 'E_BAD_CRITERIA', `${name}: ${problem}`, name);
}

// Whether a text has characters that no name of an attribute and no id has.
export const hasControlCharacters = text => /[\0-\x1f\x7f]/.test(text);

const isControl = char => /[\0-\x1f\x7f-\x9f]/.test(char);

// Reads the query of a url.
export function parametersOf(query) {
  const parameters = new Parameters();
  const pairs = [...new URLSearchParams(query)];
  const isNested = ([name]) => name.replace(/\[\]$/, '').includes('[');
  for (const [name, value] of pairs) if (!isNested([name])) parameters.addText(name.replace(/\[\]$/, ''), value);
  parameters.addNested(pairs.filter(isNested));
  for (const name of ['_', '_csrf']) parameters.take(name);
  return parameters;
}

class Parameters {
  constructor() {
    this.all = [];
  }

  addText(name, value) {
    const former = this.find(name);
    if (former) former.value = [former.value, value].flat();
    else this.all.push({name, value});
  }

  // Adds objects, as jQuery writes them: `where[age][>]=18`.
  addNested(pairs) {
    const entries = {__proto__: null};
    for (const [name, value] of pairs) if (!insert(entries, pathOf(name), value)) refuse(pairs[0][0], AMBIGUOUS);
    for (const [name, value] of Object.entries(entries)) {
      if (this.find(name)) refuse(name, AMBIGUOUS);
      this.all.push({name, value: withLists(value)});
    }
  }

  find(name) {
    return this.all.find(parameter => parameter.name === name);
  }

  // Removes a parameter and returns its value. The last parameter gets its place, as in the server.
  take(name) {
    const place = this.all.findIndex(parameter => parameter.name === name);
    if (place < 0) return undefined;
    const {value} = this.all[place];
    const last = this.all.pop();
    if (place < this.all.length) this.all[place] = last;
    return value;
  }

  set(at, name, value) {
    if (this.find(name)) refuse(at, TWICE);
    this.all.push({name, value});
  }

  rename(from, to) {
    const value = this.take(from);
    if (value !== undefined) this.set(from, to, value);
  }

  // Translates the parameters of other APIs. Returns the direction in `order=desc`.
  translate() {
    for (const name of IGNORED) this.take(name);
    this._translatePages();
    this.rename('offset', 'skip');
    const [direction] = /^(asc|desc)$/i.exec(this.find('order')?.value ?? '') ?? [];
    if (direction) this.take('order');
    else this.rename('order', 'sort');
    return direction?.toLowerCase();
  }

  _translatePages() {
    const page = this.take('page');
    if (page === undefined) return this.rename('per_page', 'limit');
    const number = countOf('page', page, 1);
    this.rename('per_page', 'limit');
    const limit = this.take('limit');
    const length = limit === undefined ? PAGE_LENGTH : countOf('limit', limit, 1);
    this.set('skip', 'skip', String((number - 1) * length));
    this.set('limit', 'limit', String(length));
  }

  // Allows only those of one record, which is not chosen by criteria.
  keepThoseOfOne() {
    for (const name of [...TRANSLATED, ...IGNORED]) this.take(name);
    const taken = ['select', 'omit'].map(name => [name, this.take(name)]);
    if (this.all.length) refuse(this.all[0].name, 'a record that is named is not chosen by criteria');
    for (const [name, value] of taken) if (value !== undefined) this.all.push({name, value});
  }
}

// A whole number from `least` on. An empty text is 0 where that is allowed.
export function countOf(name, value, least = 0) {
  const isCount = typeof value === 'string' && (/^\+?\d+$/.test(value) || value === '' && !least);
  if (!isCount || Number(value) < least || Number(value) >= 2 ** 64) refuse(name, `this has to be a whole number, ${least} or more`);
  return Number(value);
}

// Names with brackets
// -------------------

// `args[1][id]` is `args`, `1`, `id`. Returns null for a name that is malformed.
function pathOf(key) {
  const [, name, rest] = /^([^[]*)(.*)$/s.exec(key);
  const inner = [...rest.matchAll(/\[([^\]]*)\]/g)];
  const isWhole = inner.map(([text]) => text).join('') === rest;
  return isWhole && name && inner.length < MAX_DEPTH ? [name, ...inner.map(([, text]) => text)] : null;
}

// Until all values are inserted, a list is an object whose keys are numbers.
function insert(entries, path, value) {
  if (!path?.length) return false;
  const [first, ...rest] = path;
  const key = first === '' ? nextIndex(entries) : first;
  const former = entries[key];
  if (former === undefined) {
    entries[key] = rest.length ? {__proto__: null} : value;
    return rest.length ? insert(entries[key], rest, value) : true;
  }
  if (typeof former === 'string') {
    if (rest.length) return false;
    entries[key] = {__proto__: null, 0: former};
    return insert(entries, [key, ''], value);
  }
  if (rest.length) return insert(former, rest, value);
  return isList(former) && insert(former, [''], value);
}

function nextIndex(entries) {
  let index = Object.keys(entries).length;
  while (index in entries) index += 1;
  return String(index);
}

function isList(entries) {
  const keys = Object.keys(entries);
  return keys.every(key => /^(0|[1-9]\d*)$/.test(key) && Number(key) < keys.length);
}

function withLists(value) {
  if (typeof value === 'string') return value;
  if (isList(value)) return Object.keys(value).map((_, index) => withLists(value[index]));
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, withLists(each)]));
}
