// Live collections and models
// ---------------------------
//
// Whatever was read is live from then on. Pushes are news, and so are replies: what one collection reads or one
// model saves, the others of the resource learn as well, because the core does not push what a reply has
// told already. Two things are kept apart: what a *record* is like (`Records`), which every model of it
// that the page holds shows; and which records a *query* picks, in which order, which the core decides.

import {Answer, splitRoom} from './answer.js';
import {attempt} from './attempt.js';
import {Announcements, ModelChanges} from './changes.js';
import {attributesOf} from './edits.js';
import {Models} from './models.js';
import {Records, copy, isPlain, isSame} from './records.js';
import {isSuccess} from './request.js';
import {Steps, destroy, showStep} from './show.js';
import {Targets, isCollection} from './targets.js';

// The verbs of a change on the wire.
export const CREATED = 1;
export const UPDATED = 2;
export const DESTROYED = 3;

// How long a query waits that could not be asked again.
const RETRY_AFTER = 3000;
// What takes a list apart that crosses into the core.
const SEPARATOR = '\0';

export class Live {
  // `queries` is the core's part; `runtime` says what the page is doing and sends what is to be sent.
  constructor(runtime, queries) {
    Object.assign(this, {_runtime: runtime, _queries: queries});
    this._records = new Map();
    this._models = new Models();
    // Of models that show what is not sent yet, the record.
    this._assumed = new WeakMap();
    // Models whose record is gone, which the page knows.
    this._destroyed = new WeakSet();
    this._changes = new ModelChanges(runtime);
    this._targets = new Targets(number => this._tell(() => queries.stop(number)));
  }

  // What the page reads
  // -------------------

  // A read of the page is on its way: the target's queries may be replaced by it.
  beginRead(target) {
    this._tell(() => this._queries.beginRead(this._targets.numberOf(target)));
  }

  // It has been answered, or never will be.
  endRead(target) {
    this._tell(() => this._queries.endRead(this._targets.numberOf(target)));
  }

  // The page has read this in some other way: it is asked for again, to be live.
  adopt(target, url) {
    const query = this._targets.enter(target, {url, headers: {}}, {resource: ''});
    this._targets.keepOnly(query);
    this._tell(() => this._queries.read(query.number, query.target, true, Boolean(target.comparator), '', undefined, ''));
    this.rejoin();
  }

  // Takes from the answer to a read, before the page gets hold of it, what others are to know, and returns a
  // function to be called once the page's own callbacks have run.
  learnRead(exchange, body, headers) {
    const answer = exchange.answer = new Answer(body, headers);
    if (!answer.isLive || exchange.isStopped) return () => answer.room && this._leaveUnfollowed(answer.room);
    const {model: target, options, transport: {call}} = exchange;
    const changes = this._learnRecords(answer);
    return () => {
      const query = this._targets.enter(target, exchange, answer);
      const replaces = !isCollection(target) || !this._runtime.isAdding(options);
      if (replaces) this._targets.keepOnly(query);
      this._destroyed.delete(target);
      this._registerAll(answer, target, call);
      this._runtime.wasRead(answer, exchange.url, target);
      this._apply(answer.resource, changes, {except: target});
      const ids = this._idsFor(answer, target, call.parsed);
      this._tell(() => this._queries.read(query.number, query.target, replaces, Boolean(target.comparator), answer.room,
        answer.description, ids.join(SEPARATOR)), answer);
    };
  }

  // A model is its own list.
  _idsFor(answer, target, parsed) {
    if (isCollection(target)) return answer.ids(parsed);
    const [record] = answer.records;
    return record && !Array.isArray(answer.body) ? [String(answer.idOf(record) ?? target.id)] : [];
  }

  // What is newer than the answer is shown as it is by now, and what is gone by now is not shown. Of what is
  // told of other records by this answer, the changes.
  _learnRecords(answer) {
    if (answer.isShaped || !answer.resource) return answer.leaveOut(() => false) ?? [];
    const records = this._recordsOf(answer.resource);
    records.enter(answer.epoch);
    const ids = answer.records.map(record => answer.idOf(record));
    const changes = [];
    answer.records.forEach((record, index) => {
      const id = ids[index];
      if (id == null) return;
      const before = records.get(id);
      if (records.isNewer(id, answer.offset)) return overwrite(record, before);
      if (before && isSame(before, record)) return records.put(id, before, answer.offset);
      changes.push([answer.offset, before ? UPDATED : CREATED, id, copy(record)]);
    });
    answer.leaveOut(id => records.isNewer(id, answer.offset) && !records.get(id));
    if (answer.kind === 'whole' && Array.isArray(answer.body) && !ids.includes(undefined)) {
      for (const other of records.others(ids.map(String))) {
        if (records.isNewer(other, answer.offset)) answer.newer.push(other);
        else changes.push([answer.offset, DESTROYED, other, null]);
      }
    }
    return changes;
  }

  // Backbone has set an answer: these are models of its records.
  wasSet(target, models) {
    for (const model of [isCollection(target) ? models ?? target.models : target].flat()) {
      if (model?.attributes) this._changes.wasSet(model);
    }
  }

  // `parsed` is what the page's `parse` made of the body, `models` those that Backbone made of that.
  _registerAll(answer, target, {parsed = answer.body, models}) {
    if (answer.isShaped || !answer.resource) return;
    const isAligned = Array.isArray(models) && Array.isArray(parsed) && parsed.length === answer.records.length;
    answer.records.forEach((record, index) => {
      const id = answer.idOf(record);
      const model = !isCollection(target) ? target : isAligned && models[index] || this._find(target, answer.resource, id, record);
      if (model?.attributes) this._models.add(answer.resource, id ?? target.id, model);
    });
  }

  // What the page writes
  // --------------------

  // As `learnRead`, for a write. A reply without the record says that it was saved as sent.
  learnWrite({model, method, body: sent}, status, body, headers) {
    const [resource, id] = splitRoom(headers['backwire-record'] ?? '');
    const [, offset] = /:(\d+)$/.exec(headers['backwire-position']) ?? [];
    if (!isSuccess(status) || !id || !offset) return {tell() {}};
    const records = this._records.get(resource);
    const verb = {post: CREATED, delete: DESTROYED}[method] || UPDATED;
    const record = verb === DESTROYED ? null : isPlain(body) ? copy(body) : attributesOf(sent);
    // What was done long ago is answered with what was true then.
    const latest = records?.isNewer(id, Number(offset)) ? copy(records.get(id)) : undefined;
    const tell = () => {
      if (model && verb === DESTROYED) this._destroyed.add(model);
      else if (model && !isCollection(model)) this._models.add(resource, id, model);
      if (records) this._news(resource, resource, [[Number(offset), verb, id, record]], {except: model});
    };
    return {tell, latest};
  }

  // Takes back what a refused write of this model shows. To be asked for when it is made: a destroyed
  // model has lost its collection by then.
  undo({model, method, kind}) {
    const resource = this.resourceOf(model);
    const {id} = model;
    const holders = method === 'delete' ? [...this._targets.of(resource).keys()].filter(target => isCollection(target) && target.get(id)) : [];
    return ({body}) => {
      const record = this._records.get(resource)?.get(id);
      if (kind === 'create') return this._runtime.isWriting(model) || this._destroy(model);
      if (!record) return;
      if (method !== 'delete') return this._models.of(resource, id).forEach(it => this._changes.revert(it, attributesOf(body), record));
      for (const target of holders) {
        const step = {added: new Set([String(id)]), removed: new Set()};
        showStep(target, step, this._shower(target, resource));
      }
    };
  }

  // The record behind a model, as the server told it last.
  recordOf(model) {
    return this._records.get(this.resourceOf(model))?.get(model.id) ?? this._assumed.get(model);
  }

  // The resource that a model is of, if that is live.
  resourceOf(model) {
    return this._models.resourceOf(model) ?? this._targets.resourceOf(model) ?? this._targets.resourceOf(model?.collection ?? {});
  }

  // Is anything of a resource live that this path names?
  follows(path) {
    const segments = path.toLowerCase().split('/');
    return [...this._records.keys()].some(resource => segments.includes(resource));
  }

  // The model shows this record, until the server tells.
  assume(model, record) {
    this._assumed.set(model, record);
  }

  // News
  // ----

  // Pushes, in commit order and once each: the core has seen to that.
  deliver(room, changes) {
    this._news(splitRoom(room)[0], room, changes, {});
  }

  // What a back end has told of a record, in one of the arguments; in another, that it is gone.
  hear(resource, args) {
    const record = args.filter(isPlain).pop();
    const verb = args.some(arg => /^(remove|delete|destroy)/.test(arg)) ? DESTROYED : CREATED;
    this._news(resource, resource, [[undefined, verb, record?.id ?? args.at(-1), record ?? null]], {});
  }

  _news(resource, room, changes, about) {
    if (!this._records.has(resource)) return;
    this._apply(resource, changes, about);
    this._tell(() => {
      if (!changes.length) this._queries.announced(room);
      for (const [, verb, id, data] of changes) {
        this._queries.changed(room, verb, String(id), Object.keys(data ?? {}).join(SEPARATOR));
      }
    });
  }

  // Records first: what a query shows is shown as it is after all of these.
  _apply(resource, changes, {except}) {
    const records = this._records.get(resource);
    const announcements = new Announcements();
    for (const [offset, verb, id, data] of changes) {
      if (records.isNewer(id, offset)) continue;
      if (verb === DESTROYED) this._recordGone(resource, id, offset, except);
      if (verb === CREATED || verb === UPDATED) this._changed(resource, id, data, {offset, verb, except, announcements});
    }
    announcements.tell();
  }

  _changed(resource, id, data, {offset, verb, except, announcements}) {
    const records = this._records.get(resource);
    const before = records.get(id);
    const isWhole = verb === CREATED || before !== undefined;
    const after = verb === CREATED ? data : {...before, ...data};
    if (isWhole) records.put(id, after, offset);
    const targets = this._targets.of(resource);
    for (const model of this._modelsOf(resource, id, data, targets, except)) {
      const record = isWhole ? after : {...model.attributes, ...data};
      const changes = attempt(() => this._changes.update(model, before, record));
      if (changes) announcements.note(model, changes, targets.keys());
    }
  }

  _recordGone(resource, id, offset, except) {
    const records = this._records.get(resource);
    const models = this._modelsOf(resource, id, records.get(id), this._targets.of(resource), except, true);
    records.delete(id, offset);
    this._models.delete(resource, id);
    for (const model of models) this._destroy(model);
  }

  _destroy(model) {
    if (this._destroyed.has(model)) return;
    this._destroyed.add(model);
    attempt(() => destroy(model));
    this._targets.leave(model);
  }

  // Each model of a record once, in whichever collections it is. The one that made the request is left out; so
  // are the models of a collection that did. Models that show a part of their record are read again instead.
  _modelsOf(resource, id, record, targets, except, isWithParts = false) {
    const models = new Set(this._models.of(resource, id));
    for (const [target, isWhole] of targets) {
      const model = (isWhole || isWithParts) && this._find(target, resource, id, record);
      if (model) models.add(model);
    }
    if (except && isCollection(except)) for (const model of models) if (except.get(model) === model) models.delete(model);
    models.delete(except);
    return models;
  }

  // The model of a target that shows a record. A collection with a `modelId` of its own finds it by the record.
  _find(target, resource, id, record) {
    if (!isCollection(target)) return String(target.id) === String(id) ? target : undefined;
    const known = this._models.of(resource, id).find(model => target.get(model) === model);
    return known ?? target.get(id) ?? (record && target.get(record)) ?? undefined;
  }

  // Queries
  // -------

  // The room has lost its place: what is read in it is asked for again.
  refresh(room) {
    if (!this._queries.isFollowed(room)) return this._runtime.leave(room);
    this._tell(() => this._queries.refresh(room));
  }

  refreshAll() {
    this._tell(() => this._queries.refreshAll());
  }

  // What was read where no room could be joined is asked for again.
  rejoin() {
    this._tell(() => this._queries.refresh(''));
  }

  // The answer to a query that was asked again.
  answered({number}, status, body, headers) {
    const query = this._targets.query(number);
    const answer = new Answer(body, headers);
    if (isSuccess(status) && answer.isLive) return this._answered(query, number, answer);
    const isGone = [401, 403, 404].includes(status);
    const isRefused = isGone || status >= 400 && status < 500 && ![408, 425, 429].includes(status);
    if (isRefused && query) this._refused(query, isGone);
    if (!isRefused) this._retryLater();
    this._tell(() => this._queries.failed(number, isRefused));
  }

  // A record that may not be read any more is gone for the page.
  _refused(query, isGone) {
    const target = this._targets.get(query.target);
    this._targets.drop(query);
    if (!isGone || !target || isCollection(target)) return;
    const {resource} = query;
    this._news(resource, `${resource}/${target.id}`, [[undefined, DESTROYED, target.id, null]], {});
  }

  _answered(query, number, answer) {
    const target = query && this._targets.get(query.target);
    if (query) Object.assign(query, {resource: answer.resource, isShaped: answer.isShaped});
    this._apply(answer.resource, this._learnRecords(answer), {});
    const source = new Source(answer);
    if (target && answer.isShaped) this._showParts(answer, source);
    const ids = target ? isCollection(target) ? answer.ids(source.listFor(target)) : this._idsFor(answer, target) : [];
    this._tell(() => this._queries.answered(number, answer.room, answer.description, ids.join(SEPARATOR)), answer, source);
  }

  // What shows parts of records shows them as they are in the answer.
  _showParts(answer, source) {
    for (const [target, isWhole] of this._targets.of(answer.resource)) {
      if (isWhole) continue;
      for (const [id, item] of source.itemsFor(target)) {
        const model = this._find(target, answer.resource, id, item);
        if (model) attempt(() => this._changes.update(model, undefined, item));
      }
    }
  }

  _retryLater() {
    this._retry ??= setTimeout(() => {
      this._retry = undefined;
      this._tell(() => this._queries.retry());
    }, RETRY_AFTER);
  }

  // Tells the core's part something and does what it asks for. A handler of the page may lead back here: then
  // the loop that runs already goes on with it.
  _tell(input, answer, source) {
    attempt(input);
    if (this._isFollowing || this._isEnded) return;
    this._isFollowing = true;
    for (let outputs; (outputs = this._outputs());) this._follow(outputs, answer, source ?? (answer && new Source(answer)));
    this._isFollowing = false;
  }

  _outputs() {
    const shows = new Map();
    const others = [];
    for (let output; (output = this._queries.poll());) {
      const [what, number, ...show] = output;
      if (what !== 'show') others.push([what, number]);
      else {
        const [added, removed, order] = show.map(listOf);
        if (!shows.has(number)) shows.set(number, new Steps());
        shows.get(number).add(added ?? [], removed ?? [], order);
      }
    }
    return shows.size || others.length ? {shows, others} : null;
  }

  _follow({shows, others}, answer, source) {
    for (const [number, steps] of shows) {
      const target = this._targets.get(number);
      if (!target) continue;
      const resource = this._targets.resourceOf(target);
      const shower = this._shower(target, resource, answer?.resource === resource ? source : undefined);
      for (const step of steps.list) showStep(target, step, shower);
      if (isCollection(target) && steps.list.some(({added}) => added.size)) this._runtime.wereAdded(target);
    }
    for (const [what, about] of others) {
      if (what === 'leave') this._left(about);
      else if (this._targets.query(about)) this._runtime.ask(this._targets.query(about));
    }
  }

  _shower(target, resource, source) {
    return {
      find: (id, record) => this._find(target, resource, id, record ?? this._records.get(resource)?.get(id)),
      itemOf: id => source?.itemFor(target, id) ?? copy(this._records.get(resource)?.get(id)),
      onGone: model => this._destroy(model),
      onAdded: (id, model) => {
        if (!model) return;
        this._models.add(resource, id, model);
        this._changes.wasSet(model);
      }
    };
  }

  // Stopping
  // --------

  stop(target) {
    const others = [...this._targets.of(this._targets.resourceOf(target)).keys()].filter(other => other !== target && isCollection(other));
    this._targets.leave(target);
    for (const model of target.models ?? [target]) {
      if (!others.some(other => other.get(model) === model)) this._models.remove(model);
    }
  }

  // Is anybody in the room?
  has(room) {
    return this._queries.isFollowed(room);
  }

  end() {
    this._isEnded = true;
    clearTimeout(this._retry);
    this._targets.clear();
    this._records.clear();
  }

  _leaveUnfollowed(room) {
    if (!this.has(room)) this._runtime.leave(room);
  }

  // Nobody is left in a room: what nobody in another room of the resource shows is not needed any more.
  _left(room) {
    if (!room) return;
    const [resource] = splitRoom(room);
    this._runtime.leave(room);
    const targets = [...this._targets.of(resource).keys()];
    if (targets.some(isCollection)) return;
    this._records.get(resource)?.keep(new Set(targets.map(model => String(model.id))));
    if (targets.length) return;
    this._records.delete(resource);
    this._models.forget(resource);
  }

  _recordsOf(resource) {
    if (!this._records.has(resource)) this._records.set(resource, new Records());
    return this._records.get(resource);
  }
}

// The records of an answer as each target is to make models of them.
class Source {
  constructor(answer) {
    this._answer = answer;
    this._items = new Map();
  }

  // What the target's own `parse` makes of the answer.
  listFor(target) {
    return [...this.itemsFor(target).values()];
  }

  itemFor(target, id) {
    return isCollection(target) ? this.itemsFor(target).get(id) : undefined;
  }

  itemsFor(target) {
    if (!this._items.has(target)) this._items.set(target, this._make(target));
    return this._items.get(target);
  }

  _make(target) {
    const {body, records} = this._answer;
    const parse = () => target.parse(copy(body), {parse: true, realtime: true});
    const list = isCollection(target) ? [attempt(parse) ?? []].flat() : records;
    const isAligned = Array.isArray(body) && list.length === records.length;
    return new Map(list.map((item, index) =>
      [String(isAligned ? this._answer.idOf(records[index]) : item?.[this._answer.key] ?? item?.id), item]));
  }
}

function listOf(text) {
  return text === undefined ? undefined : text === '' ? [] : text.split(SEPARATOR);
}

// Makes one record of JSON data the same as another, in its place.
function overwrite(record, other) {
  if (!other) return;
  for (const name of Object.keys(record)) delete record[name];
  Object.assign(record, copy(other));
}
