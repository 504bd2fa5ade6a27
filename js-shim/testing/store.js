// The records of the fake server
// ------------------------------
//
// Records, a log for each resource, and the answers to requests, as the server has them for
// resources that are not declared.

import {CREATED, DESTROYED, IDEMPOTENCY_KEY, POSITION, QUERY, RECORD, ROOM, UPDATED} from '../src/wire.js';
import {compareIds, criteriaOf, descriptionOf, find, sameJson, shaped} from './criteria.js';
import {markOf} from './mark.js';
import {hasControlCharacters, parametersOf, refuse} from './parameters.js';
import {Refusal} from './refusal.js';
import {changesIn, roomOf} from './rooms.js';

const CRITERIA = ['where', 'sort', 'skip', 'limit', 'select', 'omit', 'populate'];
const JSON_TYPE = {'content-type': 'application/json'};
const BAD_ID = 'an id is an integer within ±(2^53 - 1) or a string of 1 to 255 bytes without control characters';
// Each store has an epoch of its own, so that no client takes one for a continuation of another.
let epochs = Date.now();

export class Store {
  constructor(prefix) {
    this.epoch = ++epochs;
    this._prefix = prefix;
    this._resources = new Map();
    // The answered writes by idempotency key.
    this._ledger = new Map();
    // Called with the name of a resource after each change.
    this.whenChanged = () => {};
  }

  // The records and the log of a resource.
  resource(name) {
    if (!this._resources.has(name)) this._resources.set(name, {name, records: new Map(), log: [], nextId: 1});
    return this._resources.get(name);
  }

  // The records of a resource, by their ids.
  records(name) {
    return [...this.resource(name).records.values()].sort(compareIds);
  }

  // Requests
  // --------

  // Answers a request: `{statusCode, body, headers, room}`.
  answer(request) {
    try {
      return request.method === 'GET' ? this._read(request) : this._write(request);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return {statusCode: error.statusCode, body: error.body, headers: {...JSON_TYPE}};
    }
  }

  _read({path, query}) {
    const {resource, id} = this._target(path);
    const criteria = criteriaOf(query, id !== undefined);
    const description = descriptionOf(criteria, id !== undefined);
    const room = roomOf(resource.name, id, criteria, description);
    const found = id === undefined ? find(resource.records.values(), criteria) : shaped(recordOf(resource, id), criteria);
    return {statusCode: 200, body: found, headers: {...JSON_TYPE, [POSITION]: this._position(resource), [QUERY]: description, [ROOM]: room.name}, room};
  }

  _write({method, path, query, headers, body}) {
    const {resource, id} = this._target(path);
    const named = parametersOf(query).all.find(({name}) => CRITERIA.includes(name));
    if (named) refuse(named.name, 'a write has no criteria');
    const key = headers[IDEMPOTENCY_KEY];
    if (method === 'POST') return this._post(resource, id, body, key);
    if (body !== undefined && !isObject(body)) throw new Refusal(400, 'E_BAD_BODY', 'the body has to be a JSON object', 'body');
    const about = id ?? (body?.id == null ? body?.id : String(idOf(body.id)));
    if (about == null) throw new Refusal(400, 'E_NO_ID', 'the id of the record is missing: send it in the url, or as "id" in the body', 'id');
    if (body?.id != null && String(body.id) !== String(about)) throw new Refusal(400, 'E_BAD_ID', `the url has the id ${about}, but the body has ${body.id}: send one id`, 'id');
    const identity = method === 'DELETE' ? ['destroy', resource.name, about] : ['update', resource.name, about, ownAttributes(body ?? {})];
    return this._once(key, identity, mark => {
      const record = method === 'DELETE' ? this.destroy(resource, about, mark) : this.update(resource, about, body ?? {}, mark);
      return this._written(200, resource, record);
    });
  }

  _post(resource, id, body = {}, key) {
    if (id !== undefined) throw new Refusal(405, 'E_UNKNOWN_VERB', 'POST is not supported here');
    if (Array.isArray(body)) return this._postAll(resource, body, key);
    return this._once(key, ['create', resource.name, body], mark => this._written(201, resource, this.create(resource, body, mark)));
  }

  // Each record has a key of its own. If there are keys, a refusal of the first record is one of
  // all; otherwise the records that can be created are created.
  _postAll(resource, list, key) {
    if (!list.length) return {statusCode: 200, body: [], headers: {...JSON_TYPE}};
    for (const attributes of list) checkNew(attributes);
    let refusal;
    const answers = list.map((attributes, index) => {
      if (refusal?.index === 0 && key) return undefined;
      try {
        const ownKey = key && index ? `${key}/${index}` : key;
        return this._once(ownKey, ['create', resource.name, list, index], mark => this._written(201, resource, this.create(resource, attributes, mark)));
      } catch (error) {
        refusal ??= {error, index};
      }
    });
    if (refusal) throw refusal.error;
    const position = answers.at(-1).headers[POSITION];
    return {statusCode: 201, body: answers.map(({body}) => body), headers: {...JSON_TYPE, [POSITION]: position}};
  }

  // Executes a write once. A repeated one gets its first answer, or, if it has changed nothing, the
  // present record. A refused one is decided anew.
  _once(key, about, execute) {
    const identity = JSON.stringify(about);
    const known = key && this._ledger.get(key);
    if (known && known.identity !== identity) throw new Refusal(422, 'E_KEY_REUSED', 'this idempotency key was used for another request', IDEMPOTENCY_KEY);
    const resource = this.resource(about[1]);
    if (known) return known.isChange ? known.answer : this._written(200, resource, resource.records.get(String(about[2])) ?? known.answer.body);
    const {length} = resource.log;
    const answer = execute(key ? markOf(key) : 0);
    if (key) this._ledger.set(key, {identity, answer, isChange: resource.log.length > length});
    return answer;
  }

  // The resource and the id of a path.
  _target(path) {
    const [, name, id, more] = path.startsWith(`${this._prefix}/`) ? path.slice(this._prefix.length).replace(/\/+$/, '').split('/') : [];
    if (!name || more !== undefined) throw new Refusal(404, 'E_NOT_FOUND', `the fake server has no route for ${path}; use respond()`);
    const decoded = id === undefined ? undefined : decodeURIComponent(id);
    if (hasControlCharacters(decoded ?? '')) throw new Refusal(400, 'E_BAD_ID', BAD_ID, 'id');
    return {resource: this.resource(decodeURIComponent(name).toLowerCase()), id: decoded};
  }

  _position({log}) {
    return `${this.epoch}:${log.length}`;
  }

  _written(statusCode, resource, record) {
    return {statusCode, body: record, headers: {...JSON_TYPE, [POSITION]: this._position(resource), [RECORD]: `${resource.name}/${record.id}`}};
  }

  // Writes
  // ------

  create(resource, attributes, mark = 0) {
    checkNew(attributes);
    const id = idOf(attributes.id ?? resource.nextId);
    if (resource.records.has(String(id))) throw new Refusal(409, 'E_EXISTS', `there is a record ${id} in ${resource.name} already`, 'id');
    if (typeof id === 'number') resource.nextId = Math.max(resource.nextId, id + 1);
    const now = Date.now();
    const record = {...ownAttributes(attributes), createdAt: now, updatedAt: now, id};
    this._commit(resource, {verb: CREATED, id, after: record, mark});
    return record;
  }

  // An update without effect is not logged.
  update(resource, id, attributes, mark = 0) {
    const before = recordOf(resource, id);
    const changed = Object.entries(ownAttributes(attributes)).filter(([name, value]) => !Object.hasOwn(before, name) || !sameJson(before[name], value));
    if (!changed.length) return before;
    const set = {...Object.fromEntries(changed), updatedAt: Date.now()};
    const after = {...before, ...set};
    this._commit(resource, {verb: UPDATED, id: before.id, set, before, after, mark});
    return after;
  }

  destroy(resource, id, mark = 0) {
    const before = recordOf(resource, id);
    this._commit(resource, {verb: DESTROYED, id: before.id, before, after: null, mark});
    return before;
  }

  _commit(resource, entry) {
    const {records, log, name} = resource;
    log.push({...entry, offset: log.length + 1});
    if (entry.after) records.set(String(entry.id), entry.after);
    else records.delete(String(entry.id));
    this.whenChanged(name);
  }

  // Pushes and resumes
  // ------------------

  // The frame with the last change of a resource for a room, or null if the room does not show it.
  push({name, resource, ...room}) {
    const {log} = this.resource(resource);
    const changes = changesIn(room, log);
    const last = changes.at(-1);
    if (last?.[0] !== log.length) return null;
    if (room.kind === 'part') return [name, this.epoch, last[0], []];
    return [name, this.epoch, changes.at(-2)?.[0] ?? 0, [last]];
  }

  // The answer to a resume of a room from a position.
  resume({name, resource, ...room}, epoch, offset, highest = offset) {
    const {log} = this.resource(resource);
    const missed = changesIn(room, log).filter(change => change[0] > offset);
    const isKnown = epoch === this.epoch && highest <= log.length && !(room.kind === 'part' && missed.length);
    return isKnown ? [name, epoch, log.length, missed] : [name, null];
  }
}

function recordOf({name, records}, id) {
  const record = records.get(String(id));
  if (!record) throw new Refusal(404, 'E_NOT_FOUND', `there is no record ${id} in ${name}`);
  return record;
}

function checkNew(attributes) {
  if (!isObject(attributes)) throw new Refusal(400, 'E_BAD_BODY', 'the body has to be a JSON object', 'body');
  if (attributes.id != null) idOf(attributes.id);
}

// The attributes that a client may set.
function ownAttributes({id, createdAt, updatedAt, ...attributes}) {
  return JSON.parse(JSON.stringify(attributes));
}

// An id that reads as an integer is an integer.
function idOf(id) {
  const number = typeof id === 'string' && String(Number(id)) === id ? Number(id) : id;
  if (Number.isSafeInteger(number)) return number;
  if (typeof id === 'string' && id && new TextEncoder().encode(id).length <= 255 && !hasControlCharacters(id)) return id;
  throw new Refusal(400, 'E_BAD_ID', BAD_ID, 'id');
}

function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}
