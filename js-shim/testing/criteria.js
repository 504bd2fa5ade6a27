// Criteria of reads
// -----------------
//
// The parameters of a read, as the server understands them for a resource without declared
// attributes. Associations are not imitated.

import {Refusal} from './refusal.js';

const IGNORED = new Set(['_', '_csrf', 'q', 'search', 'fields', 'include', 'expand', '_embed', '_fields', 'force', 'context', 'access_token', '_method']);
// Parameters with another name or form, by the parameter that they are turned into.
const PAGE_LENGTH = 30;

// The criteria in the query of a url. `matches(record)` is the filter, `text` is the same for the
// same filter.
export function criteriaOf(query) {
  const parameters = parametersOf(query);
  const take = name => {
    const value = parameters[name];
    delete parameters[name];
    return value;
  };
  const {where, select, omit, populate} = {where: take('where'), select: take('select'), omit: take('omit'), populate: take('populate')};
  if (populate && populate !== 'false') throw new Refusal(400, 'E_BAD_CRITERIA', 'the fake server has no associations; use respond()', 'populate');
  const {sort, skip, limit} = orderOf(take);
  for (const name of IGNORED) delete parameters[name];
  const filter = where === undefined ? parameters : parsed(where);
  return {
    ...filterOf(filter, where === undefined), sort, skip, limit,
    select: select === '*' ? undefined : listOf(select),
    omit: listOf(omit)
  };
}

// The filter of a where. Values of a query match numbers and strings with the same text.
function filterOf(where, isText) {
  const conditions = Object.entries(where).map(([name, value]) => conditionOf(name, value, isText));
  return {
    isFiltered: conditions.length > 0,
    text: conditions.length ? JSON.stringify([isText, where]) : '',
    matches: record => conditions.every(fulfilled => fulfilled(record))
  };
}

function orderOf(take) {
  let [sort, skip, limit] = ['sort', 'skip', 'limit'].map(take);
  const [page, length, offset, order] = ['page', 'per_page', 'offset', 'order'].map(take);
  limit = numberOf('limit', limit ?? length ?? (page === undefined ? undefined : PAGE_LENGTH));
  skip = numberOf('skip', skip ?? offset) ?? (page === undefined ? undefined : (numberOf('page', page) - 1) * limit);
  const isDirection = /^(asc|desc)$/i.test(order);
  if (order !== undefined && !isDirection) sort ??= order;
  const sorted = sortOf(sort ?? (isDirection ? 'id' : undefined));
  if (isDirection) for (const each of sorted) each.isDescending = /desc/i.test(order);
  return {sort: sorted, skip: skip || undefined, limit};
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

// `age DESC, name`, `{"age": -1}`, or a list of these.
function sortOf(sort) {
  if (sort === undefined || sort === '') return [];
  if (typeof sort === 'string' && /^\s*[[{]/.test(sort)) return sortOf(parsed(sort));
  if (Array.isArray(sort)) return sort.flatMap(sortOf);
  if (typeof sort === 'object') return Object.entries(sort).map(([name, way]) => ({name, isDescending: /^(-1|desc)$/i.test(way)}));
  return String(sort).split(',').map(each => {
    const [name, way] = each.trim().split(/\s+/);
    return {name, isDescending: /^desc$/i.test(way)};
  });
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

function conditionOf(name, value, isText) {
  if (name === 'and' || name === 'or') {
    const all = [].concat(value).map(where => filterOf(where, isText).matches);
    return record => (name === 'and' ? all.every(matches => matches(record)) : all.some(matches => matches(record)));
  }
  if (name === 'not') {
    const {matches} = filterOf(value, isText);
    return record => !matches(record);
  }
  const isModified = value && typeof value === 'object' && !Array.isArray(value);
  const modifiers = isModified ? Object.entries(value) : [['in', value]];
  const all = modifiers.map(([modifier, operand]) => modifierOf(name, modifier, operand, isText));
  return record => all.every(fulfilled => fulfilled(record[name] ?? null));
}

function modifierOf(name, modifier, operand, isText) {
  const isAny = value => [].concat(operand).some(each => isEqual(value, each, isText));
  if (EQUAL.includes(modifier)) return isAny;
  if (DIFFERENT.includes(modifier)) return value => !isAny(value);
  if (Object.hasOwn(SEARCHES, modifier)) return value => typeof value === 'string' && SEARCHES[modifier](value, String(operand));
  if (!Object.hasOwn(COMPARISONS, modifier)) throw new Refusal(400, 'E_BAD_CRITERIA', `${name}: the modifier ${modifier} is not understood`, name);
  return value => {
    const other = isText && typeof value === 'number' ? Number(operand) : operand;
    return ['number', 'string'].includes(typeof value) && typeof value === typeof other && COMPARISONS[modifier](value, other);
  };
}

function isEqual(value, other, isText) {
  if (isText && value !== null && typeof value !== 'object') return String(value) === String(other);
  return isText ? other === 'null' && value === null : sameJson(value, other);
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

// Parameters
// ----------

// The parameters of a query: `a[b]=1` is an object, a repeated name and `a[]=1` are lists.
function parametersOf(query) {
  const parameters = {};
  for (const [path, value] of new URLSearchParams(query)) {
    const names = path.split(/\]?\[|\]$/).filter((name, index) => name || index === 0);
    const last = names.pop();
    const owner = names.reduce((object, name) => (object[name] ??= {}), parameters);
    owner[last] = Object.hasOwn(owner, last) ? [owner[last], value].flat() : path.endsWith('[]') ? [value] : value;
  }
  return parameters;
}

function parsed(text) {
  if (typeof text !== 'string') return text;
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, 'E_BAD_CRITERIA', 'the criteria are not JSON', 'where');
  }
}

function listOf(value) {
  return value === undefined ? undefined : [value].flat().flatMap(each => each.split(','));
}

function numberOf(name, value) {
  if (value !== undefined && !/^\d+$/.test(value)) throw new Refusal(400, 'E_BAD_CRITERIA', `${name}: this has to be a whole number, 0 or more`, name);
  return value === undefined ? undefined : Number(value);
}
