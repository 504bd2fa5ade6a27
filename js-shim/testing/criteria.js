// Criteria of reads
// -----------------
//
// The parameters of a read, as the server understands them for a resource without declared
// attributes. Associations are not imitated.

import {countOf, hasControlCharacters, parametersOf, refuse} from './parameters.js';

// The most levels of `and`, `or` and `not`, and the most attributes, modifiers and values.
const MAX_DEPTH = 8;
const MAX_SIZE = 512;

// The criteria in the query of a url. `isOne` is true for the read of one record.
// `matches(record)` is the filter, `text` is the same for the same filter.
export function criteriaOf(query, isOne) {
  const parameters = parametersOf(query);
  const populate = parameters.take('populate');
  if (isOne) refusePopulate(populate);
  const direction = isOne ? parameters.keepThoseOfOne() : parameters.translate();
  refusePopulate(populate);
  const [sort, skip, limit, select, omit] = ['sort', 'skip', 'limit', 'select', 'omit'].map(name => parameters.take(name));
  const sorted = sortOf(sort, direction);
  const window = {skip: skip && countOf('skip', skip) || undefined, limit: limit === undefined ? undefined : countOf('limit', limit)};
  const projection = projectionOf(select, omit);
  return {...filterOf(parameters), sort: sorted, ...window, ...projection};
}

function refusePopulate(populate) {
  if (populate && populate !== 'false') refuse('populate', 'the fake server has no associations; use respond()');
}

// `where`, or else all parameters that are left as conditions on attributes. Values of a query
// match numbers and strings with the same text.
function filterOf(parameters) {
  const where = parameters.take('where');
  const parser = new FilterParser(where === undefined || typeof where !== 'string');
  const parsed = typeof where === 'string' ? jsonOf('where', where) : where;
  if (where !== undefined && !isPlain(parsed)) refuse('where', 'expected an object');
  const entries = where === undefined ? parameters.all.map(({name, value}) => [name, value]) : Object.entries(parsed);
  if (where === undefined) for (const [name] of entries) if (/^(and|or|not)$/.test(name)) refuse(name, 'this goes into where, as JSON');
  const conditions = entries.map(([name, value]) => parser.entry(name, value, 0));
  return {
    isFiltered: conditions.length > 0,
    text: conditions.length ? JSON.stringify([parser.isText, entries]) : '',
    matches: record => conditions.every(fulfilled => fulfilled(record))
  };
}

// The parts of a read
// -------------------

// The records that a read returns.
export function find(records, {matches, sort, skip = 0, limit = Infinity, ...shape}) {
  const found = [...records].filter(matches).sort((a, b) => compareBy(sort, a, b));
  return found.slice(skip, skip + limit).map(record => shaped(record, shape));
}

// A record with the attributes that were asked for.
export function shaped(record, {select, omit}) {
  if (!select && !omit) return {...record};
  const isKept = name => name === 'id' || (!select || select.includes(name)) && !omit?.includes(name);
  return Object.fromEntries(Object.entries(record).filter(([name]) => isKept(name)));
}

// How the server understood a read: the header `backwire-query`.
export function descriptionOf({isFiltered, sort, skip, limit, select, omit}, isOne) {
  const isPart = [skip, limit, select, omit].some(value => value !== undefined);
  const whole = isOne ? 'one' : isFiltered ? 'filter' : 'whole';
  return [
    isPart ? 'part' : whole,
    ...sort.length ? [`sort=${sort.map(({name}) => encodeURIComponent(name)).join(',')}`] : [],
    ...skip === undefined ? [] : [`skip=${skip}`],
    ...limit === undefined ? [] : [`limit=${limit}`],
    ...select ? ['select'] : [],
    ...omit ? ['omit'] : []
  ].join(';');
}

// Order
// -----

// In the order of the server: missing or null, false, true, numbers, strings, everything else.
function compare(a, b) {
  const rank = value => (value == null ? 0 : value === false ? 1 : value === true ? 2 : typeof value === 'number' ? 3 : typeof value === 'string' ? 4 : 5);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  return rank(a) < 3 || rank(a) === 5 || a === b ? 0 : a < b ? -1 : 1;
}

export function compareIds(a, b) {
  return compare(a.id, b.id);
}

function compareBy(sort, a, b) {
  for (const {name, isDescending} of sort) {
    const order = compare(a[name], b[name]);
    if (order) return isDescending ? -order : order;
  }
  return compareIds(a, b);
}

// `age DESC, name`, `{"age": -1}`, or a list of these. `direction` is one for all.
function sortOf(sort, direction) {
  const value = typeof sort === 'string' && /^\s*[[{]/.test(sort) ? jsonOf('sort', sort) : sort;
  const terms = value === undefined ? [] : termsOf(value);
  if (terms.length > MAX_SIZE) refuse('sort', `more than ${MAX_SIZE} attributes`);
  const sorted = terms.filter(({name}, index) => terms.findIndex(term => term.name === name) === index);
  if (direction === 'desc' && !sorted.length) sorted.push({name: 'id'});
  if (direction) for (const term of sorted) term.isDescending = direction === 'desc';
  return sorted;
}

function termsOf(value) {
  if (typeof value === 'string') return value.split(',').map(termOfText);
  if (Array.isArray(value)) return value.flatMap(item => (typeof item === 'string' ? [termOfText(item)] : isPlain(item) ? termsOf(item) : refuse('sort', SORT)));
  return isPlain(value) ? Object.entries(value).map(([name, way]) => termOf(name, way)) : refuse('sort', SORT);
}

const SORT = 'expected "attribute", "attribute DESC", {"attribute":"DESC"} or a list';

function termOfText(text) {
  const [name, way = 'asc', ...more] = text.split(/\s+/).filter(Boolean);
  if (!name || name.startsWith('-') || more.length) refuse('sort', SORT);
  return termOf(name, way);
}

function termOf(name, way) {
  checkName(name);
  const [, ascending, descending] = /^(?:(asc|1)|(desc|-1))$/i.exec(typeof way === 'string' ? way : JSON.stringify(way)) ?? refuse('sort', 'expected ASC, DESC, 1 or -1');
  return {name, isDescending: !ascending && Boolean(descending)};
}

// Selected attributes
// -------------------

function projectionOf(select, omit) {
  const wanted = select === '*' ? undefined : select;
  if (wanted !== undefined && omit !== undefined) refuse('omit', 'select says already what is wanted');
  return {select: namesOf('select', wanted), omit: namesOf('omit', omit)};
}

function namesOf(at, value) {
  if (value === undefined) return undefined;
  const names = typeof value === 'string' ? value.split(',').map(name => name.trim()) : value;
  const isList = Array.isArray(names) && names.every(name => name && typeof name === 'string');
  if (!isList || names.length > MAX_SIZE) refuse(at, 'expected names, in a list or with commas between');
  names.forEach(checkName);
  return names;
}

// Conditions
// ----------

const COMPARISONS = {
  '<': (a, b) => a < b, lessThan: (a, b) => a < b, '<=': (a, b) => a <= b, lessThanOrEqual: (a, b) => a <= b,
  '>': (a, b) => a > b, greaterThan: (a, b) => a > b, '>=': (a, b) => a >= b, greaterThanOrEqual: (a, b) => a >= b
};
const SEARCHES = {
  contains: (text, part) => text.includes(part),
  startsWith: (text, part) => text.startsWith(part),
  endsWith: (text, part) => text.endsWith(part),
  like: (text, pattern) => likeOf(pattern).test(text)
};
const EQUAL = ['=', 'equals', 'in'];
const DIFFERENT = ['!=', '!', 'not', 'nin'];

// Makes functions of conditions. `isText` is true for values of a query, which has only texts.
class FilterParser {
  constructor(isText) {
    this.isText = isText;
    this._left = MAX_SIZE;
  }

  entry(name, value, depth) {
    this._count(name);
    checkName(name);
    if (name === 'and' || name === 'or') {
      if (!Array.isArray(value)) refuse(name, 'expected a list of objects');
      const all = value.map(part => {
        this._count(name);
        return isPlain(part) ? this._part(name, part, depth) : refuse(name, 'expected a list of objects');
      });
      return record => (name === 'and' ? all.every(matches => matches(record)) : all.some(matches => matches(record)));
    }
    if (name === 'not') {
      const matches = isPlain(value) ? this._part(name, value, depth) : refuse(name, 'expected an object');
      return record => !matches(record);
    }
    if (!isPlain(value)) return this._modifier(name, '=', value);
    if (!Object.keys(value).length) refuse(name, 'expected a value, a list or modifiers');
    const all = Object.entries(value).map(([modifier, operand]) => {
      this._count(name);
      return this._modifier(name, modifier, operand);
    });
    return record => all.every(fulfilled => fulfilled(record));
  }

  _part(at, part, depth) {
    if (depth >= MAX_DEPTH) refuse(at, `nested deeper than the ${MAX_DEPTH} levels that are allowed`);
    const conditions = Object.entries(part).map(([name, value]) => this.entry(name, value, depth + 1));
    return record => conditions.every(fulfilled => fulfilled(record));
  }

  _modifier(name, modifier, operand) {
    const valueOf = record => record[name] ?? null;
    if (/^n?in$/.test(modifier) && !Array.isArray(operand)) refuse(name, 'expected a list after in and nin');
    if (EQUAL.includes(modifier) || DIFFERENT.includes(modifier)) {
      const operands = [operand].flat(1).map(each => this._operand(name, each));
      const isAny = value => operands.some(each => isEqual(value, each, this.isText));
      return EQUAL.includes(modifier) ? record => isAny(valueOf(record)) : record => !isAny(valueOf(record));
    }
    if (Object.hasOwn(SEARCHES, modifier)) {
      if (typeof operand !== 'string') refuse(name, 'expected a string after like, contains, startsWith and endsWith');
      return record => typeof valueOf(record) === 'string' && SEARCHES[modifier](valueOf(record), operand);
    }
    if (!Object.hasOwn(COMPARISONS, modifier)) refuse(name, `the modifier ${modifier} is not understood`);
    if (!['number', 'string'].includes(typeof operand)) refuse(name, 'expected a number or a string after < <= > >=');
    const compared = this._operand(name, operand);
    return record => {
      const [value, other] = this.isText ? looselyCompared(valueOf(record), compared) : [valueOf(record), compared];
      return ['number', 'string'].includes(typeof value) && typeof value === typeof other && COMPARISONS[modifier](value, other);
    };
  }

  // An id that is a text and reads as an integer is that integer.
  _operand(name, value) {
    this._count(name);
    if (value && typeof value === 'object') {
      if (this.isText || name === 'id') refuse(name, 'expected a string, a number, true, false or null');
      for (let inner = valuesIn(value); inner > 1; inner--) this._count(name);
    }
    if (name !== 'id' || typeof value !== 'string') return value;
    if (hasControlCharacters(value)) refuse(name, 'an id has no control characters');
    return String(parseInt(value)) === value && !this.isText ? Number(value) : value;
  }

  _count(at) {
    if (this._left-- === 0) refuse(at, `more than the ${MAX_SIZE} attributes, modifiers and values that are allowed`);
  }
}

// The number of values in a value, with those of its lists and objects.
function valuesIn(value) {
  if (!value || typeof value !== 'object') return 1;
  return Object.values(value).reduce((sum, inner) => sum + valuesIn(inner), 1);
}

function isEqual(value, other, isText) {
  if (!isText || typeof value === 'string') return sameJson(value, other);
  if (typeof value === 'number') return numberIn(other) === value;
  return typeof value === 'boolean' && String(value) === other;
}

// A text of a query is a number beside a number, and beside a text that is one as well.
function looselyCompared(value, text) {
  const numbers = [typeof value === 'string' ? numberIn(value) : value, numberIn(text)];
  return typeof value === 'number' || typeof value === 'string' && numbers[0] !== undefined && numbers[1] !== undefined ? numbers : [value, text];
}

function numberIn(text) {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) && Number.isFinite(Number(text)) ? Number(text) : undefined;
}

function checkName(name) {
  if (hasControlCharacters(name)) refuse(name, 'the name of an attribute has no control characters');
}

// Whether two values are the same JSON. The order of members does not count.
export function sameJson(a, b) {
  if (a === b || typeof a !== 'object' || typeof b !== 'object' || !a || !b) return a === b;
  const names = Object.keys(a);
  if (Array.isArray(a) !== Array.isArray(b) || names.length !== Object.keys(b).length) return false;
  return names.every(name => Object.hasOwn(b, name) && sameJson(a[name], b[name]));
}

function likeOf(pattern) {
  const parts = pattern.match(/\\%|%|[^]/g) ?? [];
  return new RegExp(`^${parts.map(part => (part === '%' ? '[^]*' : part.slice(-1).replace(/[\\^$.*+?()[\]{}|/]/, '\\$&'))).join('')}$`);
}

function jsonOf(at, text) {
  try {
    return JSON.parse(text);
  } catch {
    return refuse(at, 'this is not JSON');
  }
}

function isPlain(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
