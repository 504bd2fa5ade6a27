// Which answers of Sails and Backwire differ, and why
// ---------------------------------------------------
//
// The page docs/how-to/move-from-sails.md has each of these differences for users. A reason excuses
// one thing: a refusal, or one place of an answer. `pushes.mjs` has those of pushes.

import {KEYS, explainPushes, idOf, idsIn} from './pushes.mjs';

const isOk = ({status}) => status < 400;

// The model, the id and the rest of the path of a request.
function target({url}) {
  const [, model, id, ...rest] = url.split('?')[0].split('/');
  return {model, id, rest};
}

const isWrite = ({method, url}) => !/^(get|head|options)$/.test(method) || isShortcutThatWrites(url);

const isShortcutThatWrites = url => /^\/\w+\/((create|update|destroy)\b|[^/?]+\/\w+\/(add|remove|replace)\b)/.test(url);

// The criteria of a url, if there are any.
function whereOf(url) {
  const [, json] = url.match(/[?&]where=([^&]*)/) ?? [];
  try {
    return JSON.parse(json);
  } catch {
    return {};
  }
}

// Whether null is in a list of values in criteria.
function listsNull(where) {
  return Object.entries(where).some(([name, it]) => {
    if (name === 'or' || name === 'and') return it.some(listsNull);
    const lists = it && typeof it === 'object' && !Array.isArray(it) ? Object.values(it) : [it];
    return lists.some(list => Array.isArray(list) && list.includes(null));
  });
}

// Whether criteria compare the attribute of the type json by its order, with a value that has none.
function comparesOrderOfOther(where) {
  return Object.entries(where).some(([name, it]) => {
    if (name === 'or' || name === 'and') return it.some(comparesOrderOfOther);
    const modifiers = name === 'meta' && it && typeof it === 'object' && !Array.isArray(it) ? Object.entries(it) : [];
    return modifiers.some(([modifier, operand]) => /^[<>]=?$/.test(modifier) && operand !== null && !/number|string/.test(typeof operand));
  });
}

// The place of a value of the type json in the order of Backwire.
function rank(value) {
  if (typeof value === 'boolean') return value ? 2 : 1;
  return value === null ? 0 : ({number: 3, string: 4})[typeof value] ?? 5;
}

const isSorted = ranks => ranks.every((it, at) => at === 0 || ranks[at - 1] <= it);

// Reasons why at least one of the servers refuses a request, and not both for the same reason.
const refusals = [
  {
    about: 'If criteria and populate are wrong, Sails reports the criteria first',
    is: ({url}, sails, backwire) => url.includes('populate=nope') && backwire.body === 'E_INVALID_POPULATES' && sails.body === 'E_INVALID_CRITERIA'
  },
  {
    about: 'With a limit of 0, Sails checks neither the other criteria nor populate',
    is: ({url}, sails, backwire) =>
      url.includes('limit=0') && /^E_INVALID_(CRITERIA|POPULATES)$/.test(backwire.body) && Array.isArray(sails.body) && sails.body.length === 0
  },
  {
    about: 'A GET shortcut that writes needs a CSRF token, and in Sails it does not',
    is: ({method, url}, sails, backwire) =>
      method === 'get' && isShortcutThatWrites(url) && backwire.body === 'E_CSRF' && sails.status !== 403
  },
  {
    about: 'In Sails a path that looks like a file has no session, so a write is refused',
    is: ({method, url, token}, sails, backwire) =>
      token && method !== 'get' && /\.\w+$/.test(url.split('?')[0]) && sails.status === 403 && backwire.status !== 403
  },
  {
    about: 'Sails fails with a status 500, and Backwire names what is wrong',
    is: (step, sails, backwire, before, existing) => {
      const {model, id, rest} = target(step);
      const ids = [id, ...rest.slice(1)];
      const isMissing = !existing.has(`${model} ${Number(id)}`) && backwire.status === 404;
      return sails.status === 500 && rest.length > 0 && (isMissing || ids.some(it => !Number.isInteger(Number(it))) && [400, 404].includes(backwire.status));
    }
  },
  {
    about: 'Sails ignores the id in the body of an update, and Backwire refuses another id than that of the url',
    is: (step, sails, backwire) => {
      const {model, id} = target(step);
      const other = step.data?.[KEYS[model]];
      return /^(put|patch)$/.test(step.method) && other != null && String(other) !== id && backwire.body === 'E_BAD_ID';
    }
  },
  {
    about: 'Sails refuses a new record with the id null, and Backwire chooses the id, because Backbone sends such models',
    is: ({method, url, data}, sails, backwire) =>
      method === 'post' && data?.[KEYS[target({url}).model]] === null && sails.body === 'E_INVALID_NEW_RECORD' && isOk(backwire)
  },
  {
    about: 'In Sails an id that was given does not count, so a new record may get one that is taken',
    is: (step, sails, backwire, before) =>
      step.method === 'post' && sails.body === 'E_UNIQUE' && isOk(backwire) && !(KEYS[target(step).model] in step.data) && before.some(it => givesId(it, step))
  },
  {
    about: 'Of a request that is wrong and whose record does not exist, Sails reports the record, and Backwire what is wrong',
    is: (step, sails, backwire) => (isWrite(step) || /[?&](populate|select|omit)=nope/.test(step.url)) && sails.status === 404 && backwire.status === 400
  },
  {
    about: 'Sails refuses to omit the key, and Backwire ignores it',
    is: ({url}, sails, backwire) => /omit=(\w+_)?id\b/.test(url) && sails.body === 'E_INVALID_CRITERIA' && (isOk(backwire) || backwire.status === 404)
  },
  {
    about: 'Sails refuses null in the list of in and nin, and Backwire understands it',
    is: ({url}, sails, backwire) => listsNull(whereOf(url)) && sails.body === 'E_INVALID_CRITERIA' && isOk(backwire)
  },
  {
    about: 'In Sails no value is less or greater than true, an object or a list, and Backwire refuses the question',
    is: ({url}, sails, backwire) => isOk(sails) && backwire.body === 'E_INVALID_CRITERIA' && comparesOrderOfOther(whereOf(url))
  },
  {
    about: 'A method that a path does not have is a 404 in Sails, and a 405 in Backwire',
    is: (step, sails, backwire) => sails.status === 404 && backwire.body === 'E_UNKNOWN_VERB' && isWrite(step)
  },
  {
    about: 'A destroy without an id is E_INVALID_CRITERIA in Sails, and E_NO_ID in Backwire',
    is: ({method, url}, sails, backwire) => method === 'delete' && /^\/\w+$/.test(url) && sails.body === 'E_INVALID_CRITERIA' && backwire.body === 'E_NO_ID'
  },
  {
    about: 'Wrong criteria of a collection of a record are E_INVALID_POPULATES in Sails, before it looks for the record',
    is: (step, sails, backwire) =>
      target(step).rest.length === 1 && step.url.includes('?') && sails.body === 'E_INVALID_POPULATES' && /^E_(INVALID_CRITERIA|NOT_FOUND)$/.test(backwire.body)
  },
  {
    about: 'A value that is twice in the url of a write is a list in Sails, and the last one in Backwire',
    is: ({url}, sails, backwire) => isShortcutThatWrites(url) && /[?&](\w+)=[^&]*&(.*&)?\1=/.test(url) && sails.status === 400 && isOk(backwire)
  },
  {
    about: 'A list of associated ids for a url without a record is E_INVALID_TARGET_RECORD_IDS in Sails, and 404 in Backwire',
    is: (step, sails, backwire) => sails.body === 'E_INVALID_TARGET_RECORD_IDS' && backwire.status === 404
  }
];

// Whether an earlier step has created a record of the same model with an id of its own.
const givesId = ({step: {method, url, data}}, step) => method === 'post' && target({url}).model === target(step).model && data?.[KEYS[target(step).model]] != null;

// Whether an earlier step has failed to create a record of the same model.
const isFailedCreate = ({step: {method, url}, sails}, step) => method === 'post' && target({url}).model === target(step).model && sails.status === 400;

// The id that a new record has in Backwire: ids are counted, and not used again.
function nextId(step, before) {
  const {model} = target(step);
  const created = before.filter(it => target(it.step).model === model && isOk(it.sails)).map(({sails: {body}}) => body?.[KEYS[model]]);
  return 1 + Math.max(0, ...created.filter(Number.isInteger));
}

// The attribute on the other side of an association, and the models of both sides.
const ASSOCIATED = {
  pets: ['owner', ['user', 'person'], ['pet', 'animal']], patients: ['vets', ['user'], ['pet']], profile: ['user', ['user'], ['userprofile']],
  vets: ['patients', ['pet'], ['user']], parents: ['children', ['pet'], ['pet']], children: ['parents', ['pet'], ['pet']],
  tags: ['articles', ['article'], ['tag']], articles: ['tags', ['tag'], ['article']]
};

// Whether an earlier step has named a record by its id, as one of the two of this association,
// while there was no such record.
function isLinkedBefore(before, attribute, ids) {
  const [inverse, owners, members] = ASSOCIATED[attribute];
  const models = [...owners, ...members];
  return before.some(({step, existing}) => {
    const {model, id, rest} = target(step);
    const named = [attribute, inverse].flatMap(name => [step.data?.[name] ?? []].flat());
    if (rest[0] === attribute || rest[0] === inverse) named.push(id, rest[1], ...Array.isArray(step.data) ? step.data : []);
    return models.includes(model) && named.some(it => ids.includes(Number(it)) && models.some(of => !existing.has(`${of} ${Number(it)}`)));
  });
}

// Reasons why an answer differs in one place: `found` is the path, both values there, and the
// record that it is in.
const places = [
  {
    about: 'The answer to OPTIONS over HTTP has the methods in its body in Sails, and in its header Allow in Backwire',
    is: ({step: {method, by}}, {path, sails, backwire}) => method === 'options' && by === 'http' && path === '' && /^[A-Z,]+$/.test(sails) && backwire === ''
  },
  {
    about: 'In Sails the answer to a HEAD over a socket has a body',
    is: ({step: {method, by}}, {path, backwire}) => method === 'head' && by !== 'http' && path === '' && JSON.stringify(backwire ?? {}) === '{}'
  },
  {
    about: 'In Sails the parameters of a request have its CSRF token',
    is: ({step: {token}}, {path, backwire}) => token && path === '/all/_csrf' && backwire === undefined
  },
  {
    about: 'In Sails an id that was given does not count, and a create that fails uses up an id',
    is: ({step, before}, {path, backwire}) =>
      step.method === 'post' && path === `/${KEYS[target(step).model]}` && backwire === nextId(step, before) &&
      before.some(it => isFailedCreate(it, step) || givesId(it, step))
  },
  {
    about: 'Values of different types are in another order',
    is: ({step: {url}}, {path, list}) => {
      const [, sort] = url.match(/[?&]sort=([^&]*\bmeta\b[^&]*)/) ?? [];
      const ranks = sort && path === '/order' && list.map(({meta}) => rank(meta));
      return Boolean(ranks) && isSorted(/DESC|-1/.test(sort) ? ranks.reverse() : ranks);
    }
  },
  {
    about: 'Sails links with ids of records that do not exist, and Backwire does not',
    is: ({step, before, now}, {path, sails, backwire, record}) => {
      const [, attribute = target(step).rest[0]] = path.match(/\/(\w+)\/#\d+$/) ?? [];
      const owner = record ? idOf(record) : Number(target(step).id);
      return backwire === undefined && /\/#\d+$/.test(path) && attribute in ASSOCIATED && isLinkedBefore([...before, now], attribute, [owner, idOf(sails)]);
    }
  },
  {
    about: 'Sails keeps the id of a destroyed record in attributes without a collection on the other side, and Backwire sets null',
    is: ({before}, {path, sails, backwire}) =>
      /\/(bestFriend|bestFurryFriend|author)$/.test(path) && Number.isInteger(sails) && backwire === null && before.some(it => destroys(it, sails))
  }
];

const destroys = ({step: {method, url}, sails}, id) => isOk(sails) && (method === 'delete' || url.includes('/destroy/')) && Number(url.split('?')[0].split('/').pop()) === id;

// The codes of Backwire where Sails sends a text.
const CODES = {403: 'E_CSRF', 404: 'E_NOT_FOUND', 500: 'Service panicked'};

// The statuses of the codes of Backwire where it refuses what Sails does not, or refuses otherwise.
const STATUSES = {
  E_CSRF: 403, E_NOT_FOUND: 404, E_BAD_ID: 400, E_BAD_BODY: 400, E_UNIQUE: 400, E_INVALID_CRITERIA: 400, E_INVALID_POPULATES: 400,
  E_INVALID_NEW_RECORD: 400, E_INVALID_VALUES_TO_SET: 400, E_NO_ID: 400, E_UNKNOWN_VERB: 405
};

// Returns the reasons why the answers to a step and its pushes differ, what is without a reason,
// and whether both servers are in the same state after the step. `records` are those of Backwire
// before and after the step.
export function explain(sails, backwire, {step, before, records}) {
  const now = {step, existing: idsIn(records.before)};
  if (!isOk(sails) || !isOk(backwire)) return explainRefusal(sails, backwire, {step, before, existing: now.existing});
  const context = {step, before, now};
  const explainRecord = (a, b) => explainBody(a, b, context);
  const isCreate = step.method === 'post' && target(step).rest.length === 0 || /^\/\w+\/create\b/.test(step.url);
  const body = explainBody(isCreate ? withOwner(sails.body, target(step).model, backwire.body) : sails.body, backwire.body, context);
  const theirs = renamed(sails.pushes, target(step).model, sails.body, backwire.body);
  const pushes = explainPushes(theirs, backwire.pushes, {records, explainRecord, created: isCreate && backwire.body});
  const unknown = [...body.unknown, ...pushes.unknown];
  if (sails.status !== backwire.status) unknown.push({path: 'status', sails: sails.status, backwire: backwire.status});
  return {reasons: new Set([...body.reasons, ...pushes.reasons]), unknown, isSameState: !isWrite(step) || !body.reasons.size && !body.unknown.length};
}

// A new record of Sails, whose members have the id as their owner that the record has in Backwire.
function withOwner(record, model, backwire) {
  const [from, to] = [record?.[KEYS[model]], backwire?.[KEYS[model]]];
  if (!Number.isInteger(from) || !Number.isInteger(to)) return record;
  const renamed = Object.entries(record).map(([name, members]) => {
    if (!Array.isArray(members) || !(name in ASSOCIATED)) return [name, members];
    const [inverse] = ASSOCIATED[name];
    return [name, members.map(member => (member?.[inverse] === from ? {...member, [inverse]: to} : member))];
  });
  return Object.fromEntries(renamed);
}

// The pushes of Sails, with the id that a new record has in Backwire.
function renamed(pushes, model, sails, backwire) {
  const [from, to] = [sails?.[KEYS[model]], backwire?.[KEYS[model]]];
  if (from === to || !Number.isInteger(to)) return pushes;
  const idIn = it => (it === from ? to : it);
  return pushes.map(list => list.map(([of, push]) => {
    if (of === model) return [of, {...push, id: idIn(push.id), ...push.data && {data: {...withOwner(push.data, of, backwire), [KEYS[of]]: idIn(push.data[KEYS[of]])}}}];
    const names = Object.entries(push).map(([name, it]) => [name, /^(added|removed)Id$/.test(name) ? idIn(it) : it]);
    return [of, Object.fromEntries(names)];
  }));
}

function explainRefusal(sails, backwire, {step, before, existing}) {
  // Sails may have changed something before it fails.
  const refused = [sails, backwire].filter(it => !isOk(it) && (it === backwire || it.status !== 500));
  const unknown = refused.filter(it => it.pushes.some(all => all.length)).map(({pushes}) => ({path: 'pushes of a refusal', pushes}));
  if (sails.status === backwire.status && isSameError(sails, backwire, step)) return {reasons: new Set(), unknown, isSameState: true};
  const isPlausible = isOk(backwire) || STATUSES[backwire.body] === backwire.status;
  const known = isPlausible && refusals.find(({is}) => is(step, sails, backwire, before, existing));
  if (!known) unknown.push({path: 'refusal', sails: [sails.status, sails.body], backwire: [backwire.status, backwire.body]});
  // A read over a socket that only one of the servers refuses subscribes the socket at the other.
  const isSameState = isWrite(step) ? false : step.by === 'http' || !isOk(sails) && !isOk(backwire);
  return {reasons: new Set(known ? [known.about] : []), unknown, isSameState};
}

// The answer of Backwire to a HEAD has no body.
function isSameError({status, body}, backwire, {method}) {
  if (method === 'head' && JSON.stringify(backwire.body ?? {}) === '{}') return true;
  if (typeof body !== 'string' || body.startsWith('E_')) return JSON.stringify(body) === JSON.stringify(backwire.body);
  return body === backwire.body || backwire.body === CODES[status];
}

// Returns the reasons why two bodies differ, and the places without a reason.
export function explainBody(sails, backwire, context) {
  const reasons = new Set();
  const unknown = [];
  for (const found of differences(sails, backwire, '')) {
    const known = places.find(({is}) => is(context, found));
    if (known) reasons.add(known.about);
    else unknown.push(found);
  }
  return {reasons, unknown};
}

// All places where two values differ. Records of a list are compared by their ids.
function differences(sails, backwire, path, record) {
  if (JSON.stringify(sails) === JSON.stringify(backwire)) return [];
  const isPair = [sails, backwire].every(it => it && typeof it === 'object') && Array.isArray(sails) === Array.isArray(backwire);
  if (!isPair) return [{path, sails, backwire, record}];
  const isList = Array.isArray(sails) && [...sails, ...backwire].every(it => Number.isInteger(it && idOf(it)));
  if (isList) return differencesOfLists(sails, backwire, path, record);
  const names = new Set([...Object.keys(sails), ...Object.keys(backwire)]);
  const inner = Number.isInteger(idOf(backwire)) ? backwire : record;
  return [...names].flatMap(name => differences(sails[name], backwire[name], `${path}/${name}`, inner));
}

function differencesOfLists(sails, backwire, path, record) {
  const [theirs, ours] = [sails, backwire].map(list => new Map(list.map(it => [idOf(it), it])));
  const ids = new Set([...theirs.keys(), ...ours.keys()]);
  const found = [...ids].flatMap(id => differences(theirs.get(id), ours.get(id), `${path}/#${id}`, record));
  const orders = [[theirs, ours], [ours, theirs]].map(([all, others]) => [...all.keys()].filter(id => others.has(id)));
  const isSameOrder = JSON.stringify(orders[0]) === JSON.stringify(orders[1]);
  const isUnique = theirs.size === sails.length && ours.size === backwire.length;
  return isSameOrder && isUnique ? found : [...found, {path: `${path}/order`, sails: sails.map(idOf), backwire: backwire.map(idOf), list: backwire}];
}
