// Live collections and models
// ---------------------------
//
// Everything that was read is live from then on. Replies are news as pushes are: what one collection reads or one
// model saves is applied to the others of the resource, because the core does not push it again. Two
// things are kept apart: the attributes of each *record* (`Records`), which every model of it shows; and which
// records a *query* selects, in which order, which the core decides.
//
// `refreshed.js` applies the answers to queries that were sent again.

import {Answer, NO_ROOM, splitRoom} from './answer.js';
import {attempt} from './attempt.js';
import {Announcements, ModelChanges} from './changes.js';
import {attributesOf} from './edits.js';
import {Keeper, isHeld} from './keeper.js';
import {Models} from './models.js';
import {Records, copy, isPlain, isSame} from './records.js';
import {isSuccess} from './request.js';
import {destroy, show} from './show.js';
import {Targets, isCollection} from './targets.js';

// The verbs of a change on the wire.
export const CREATED = 1;
const UPDATED = 2;
export const DESTROYED = 3;

export class Live {
  // `queries` is the core's part; `runtime` says what the page is doing and sends what is to be sent.
  constructor(runtime, queries) {
    Object.assign(this, {runtime, queries});
    this.records = new Map();
    this.models = new Models();
    // Of models that show what is not sent yet, the record.
    this.assumed = new WeakMap();
    // Models whose record is gone, which the page knows.
    this._gone = new WeakSet();
    // By the number of their query.
    this._keepers = new Map();
    this.changes = new ModelChanges(runtime);
    this.targets = new Targets(number => this.decide(() => queries.stop(number)));
  }

  // What the page reads
  // -------------------

  // A read of the page is on its way (or no longer): the target's queries may be replaced by it.
  isReading(target, isBeginning) {
    const number = this.targets.numberOf(target);
    this.decide(() => (isBeginning ? this.queries.beginRead(number) : this.queries.endRead(number)));
  }

  // Takes from the answer to a read, before the page gets hold of it, what others are to know, and returns a
  // function to be called once the page's own callbacks have run.
  learnRead(exchange, body, headers) {
    const answer = exchange.answer = new Answer(body, headers);
    if (!answer.isLive) return () => {};
    const changes = this.learnRecords(answer);
    return () => this._wasRead(exchange, answer, changes);
  }

  // A target that was stopped meanwhile, and a model that has read a list, do not follow what they have read.
  _wasRead({model: target, options, url, headers, transport: {call}, isStopped}, answer, changes) {
    const isFollowing = !isStopped && (isCollection(target) || !Array.isArray(answer.body));
    if (!isFollowing) return this.answered(0, answer, answer.ids(call.parsed), changes, {except: target});
    const query = this.targets.enter(target, url, headers, answer);
    const replaces = !isCollection(target) || !this.runtime.isAdding(options);
    const replaced = replaces ? this.targets.keepOnly(query) : [];
    this._gone.delete(target);
    this._register(answer, target, call);
    this.runtime.wasRead(answer, url, target);
    this.apply(answer.resource, changes, target);
    this.read(query, replaces, answer, this.idsFor(answer, target, call.parsed));
    for (const other of replaced) if (this._isHeld(other)) this._keep(other);
    this._report(answer, changes);
  }

  // Is any record of a query shown by a model that some collection holds?
  _isHeld({resource, ids = []}) {
    return ids.some(id => this.models.of(resource, id).some(isHeld));
  }

  // What the query selects by now only the server knows: it is sent again.
  _keep({url, headers, resource, isShaped, ids}) {
    const keeper = new Keeper();
    const query = this.targets.enter(keeper, url, headers, {resource, isShaped});
    this._keepers.set(query.number, keeper);
    this.read(query, true, {room: NO_ROOM, changed: []}, ids);
    this.refresh(NO_ROOM);
  }

  // A query was answered that the core's part had wanted to be asked again, or one that nobody follows.
  answered(number, answer, ids, changes, {except, source} = {}) {
    this.apply(answer.resource, changes, except);
    this.decide(() => this.queries.answered(number, answer, ids), source);
    this._report(answer, changes);
  }

  // The core does not deliver to other rooms what an answer has shown of their records, so it is reported here.
  _report({resource, changed}, changes) {
    this.decide(() => {
      for (const [, verb, id] of changes) if (verb !== CREATED) this.queries.changed(resource, verb, String(id), changed);
    });
  }

  read(query, replaces, answer, ids) {
    const {number, target} = Object.assign(query, {ids});
    const hasOwnOrder = Boolean(this.targets.get(target).comparator);
    this.decide(() => this.queries.read(number, target, replaces, hasOwnOrder, answer, ids));
  }

  // A model is its own list.
  idsFor(answer, target, parsed) {
    if (isCollection(target)) return answer.ids(parsed);
    return answer.records.map(record => String(answer.idOf(record) ?? target.id));
  }

  // Updates the answer where the page knows newer records, and leaves out destroyed ones. Returns the changes that the
  // answer brings for other models.
  learnRecords(answer) {
    const {resource, offset} = answer;
    if (answer.isShaped || !resource) return answer.leaveOut(() => false) ?? [];
    if (!this.records.has(resource)) this.records.set(resource, new Records());
    const records = this.records.get(resource);
    records.enter(answer.epoch);
    const changes = [];
    for (const record of answer.records) {
      const id = answer.idOf(record);
      const before = id != null && records.get(id);
      if (records.isNewer(id, offset)) before && overwrite(record, before);
      else if (before && isSame(before, record)) records.put(id, before, offset);
      else if (id != null) changes.push(this._known(records, [offset, before ? UPDATED : CREATED, id, copy(record)]));
      // By what some list may be sorted.
      if (before) for (const name in record) if (!isSame(before[name], record[name])) answer.changed.add(name);
    }
    answer.leaveOut(id => records.isNewer(id, offset) && !records.get(id));
    if (answer.kind === 'whole' && answer.hasIds) {
      for (const other of records.others(answer.ids())) {
        if (records.isNewer(other, offset)) answer.newer.push(other);
        else changes.push([offset, DESTROYED, other]);
      }
    }
    return changes;
  }

  // The record is known from here on, so that a save in a callback of the answer is compared with it; what others
  // have shown before is kept with the change.
  _known(records, [offset, verb, id, data]) {
    const before = records.get(id);
    if (verb === CREATED || before) records.put(id, verb === CREATED ? data : {...before, ...data}, offset);
    return [offset, verb, id, data, 0, before ?? null];
  }

  // Backbone has set an answer: these are models of its records.
  wasSet(target, models) {
    for (const model of isCollection(target) ? Array.isArray(models) ? models : target.models : [target]) {
      if (model?.attributes) this.changes.wasSet(model);
    }
  }

  // `parsed` is what the page's `parse` made of the body, `models` those that Backbone made of that.
  _register(answer, target, {parsed = answer.body, models}) {
    if (answer.isShaped) return;
    const isAligned = Array.isArray(models) && parsed.length === answer.records.length;
    answer.records.forEach((record, index) => {
      const id = answer.idOf(record) ?? target.id;
      const model = !isCollection(target) ? target : isAligned && models[index] || this.find(target, answer.resource, id, record);
      if (model?.attributes) this.models.add(answer.resource, id, model);
    });
  }

  // What the page writes
  // --------------------

  // As `learnRead`, for a write. A reply without the record says that it was saved as sent.
  learnWrite({model, method, body: sent}, status, body, headers) {
    const [resource, id] = splitRoom(headers['backwire-record'] ?? '');
    const {offset} = new Answer(body, headers);
    if (!isSuccess(status) || !id || !offset) return {tell() {}};
    const records = this.records.get(resource);
    const verb = {post: CREATED, delete: DESTROYED}[method] || UPDATED;
    const record = verb === DESTROYED ? null : isPlain(body) ? copy(body) : attributesOf(sent);
    // What was done long ago is answered with what was true then.
    const isLate = records?.isNewer(id, offset);
    const latest = isLate ? copy(records.get(id)) : undefined;
    const change = [offset, verb, id, record];
    const known = records && !isLate && record ? this._known(records, change) : change;
    const tell = () => {
      if (model && verb === DESTROYED) this._gone.add(model);
      else if (model && !isCollection(model)) this.models.add(resource, id, model);
      this.news(resource, resource, [known], model);
    };
    return {tell, latest};
  }

  // Notes what it takes to take a write back: a destroyed model has lost its collections by then.
  willWrite(exchange) {
    const {model, method} = exchange;
    exchange.resource = this.resourceOf(model);
    exchange.holders = [...this.targets.of(exchange.resource).keys()].filter(target => method === 'delete' && isCollection(target) && target.get(model));
  }

  // The record behind a model, as the server told it last.
  recordOf(model) {
    return this.records.get(this.resourceOf(model))?.get(model.id) ?? this.assumed.get(model);
  }

  // The resource that a model is of, if that is live.
  resourceOf(model) {
    return this.models.resourceOf(model) ?? this.targets.resourceOf(model) ?? this.targets.resourceOf(model?.collection);
  }

  // Is anything of a resource live that this path names?
  follows(path) {
    const segments = path.toLowerCase().split('/');
    return [...this.records.keys()].some(resource => segments.includes(resource));
  }

  // News
  // ----

  // Changes of one resource, in commit order and once each. `except` is the model or the collection whose own
  // request has made them known: Backbone sets it itself.
  news(resource, room, changes, except) {
    if (!this.records.has(resource)) return;
    this.apply(resource, changes, except);
    this.decide(() => {
      for (const [, verb, id, data] of changes) this.queries.changed(room, verb, String(id), Object.keys(data ?? {}));
    });
  }

  // Updates records and their models. Queries are updated after this, so that they add records as they are now.
  apply(resource, changes, except) {
    const records = this.records.get(resource);
    const announcements = new Announcements();
    for (const [offset, verb, id, data, , known] of changes) {
      if (verb > DESTROYED || records.isNewer(id, offset)) continue;
      const before = known === undefined ? records.get(id) : known ?? undefined;
      const isWhole = verb === CREATED || before;
      const after = verb === DESTROYED ? undefined : verb === CREATED ? data : {...before, ...data};
      const targets = this.targets.of(resource);
      const models = this._modelsOf(resource, id, data ?? before, targets, except, !after);
      if (isWhole || !after) records.put(id, after, offset);
      if (!after) this.models.delete(resource, id);
      for (const model of models) {
        if (!after) this.destroy(model);
        else attempt(() => announcements.note(model, this.changes.update(model, before, isWhole ? after : {...model.attributes, ...data}), targets.keys()));
      }
    }
    announcements.tell();
  }

  // Each model of a record once, in whichever collections it is. The one that made the request is left out; so
  // are the models of a collection that did. Models that show a part of their record are read again instead.
  _modelsOf(resource, id, record, targets, except, isWithParts) {
    const models = new Set(this.models.of(resource, id));
    for (const [target, isWhole] of targets) if (isWhole || isWithParts) models.add(this.find(target, resource, id, record));
    for (const model of models) if (!model || model === except || isCollection(except) && except.get(model) === model) models.delete(model);
    return models;
  }

  destroy(model) {
    if (this._gone.has(model)) return;
    this._gone.add(model);
    attempt(() => destroy(model));
    this.targets.leave(model);
  }

  // The model of a target that shows a record. A collection with a `modelId` of its own finds it by the record.
  find(target, resource, id, record) {
    if (!isCollection(target)) return String(target.id) === String(id) ? target : undefined;
    return this.models.of(resource, id).find(model => target.get(model) === model) ?? target.get(id) ?? (record && target.get(record));
  }

  // Queries
  // -------

  // The room has lost its place: what is read in it is asked for again.
  refresh(room) {
    if (room !== NO_ROOM && !this.has(room)) return this.runtime.leave(room);
    this.decide(() => this.queries.refresh(room));
  }

  // Tells the core's part something and carries out what it decides. A handler of the page may lead back here: then
  // the loop that runs already goes on with it. `source` has the records of an answer.
  decide(input, source) {
    attempt(input);
    if (this._isDeciding || this._isEnded) return;
    this._isDeciding = true;
    for (let output; (output = this.queries.poll());) attempt(() => this._carryOut(output, source));
    this._isDeciding = false;
  }

  _carryOut([what, about, ...changes], source) {
    if (what === 'leave') return this._left(about);
    if (what === 'ask') return this._ask(this.targets.query(about), about);
    const target = this.targets.get(about);
    if (!target) return;
    const [added, removed, order] = changes;
    this.show(target, {added, removed, order}, source);
    if (added.length && isCollection(target)) this.runtime.wereAdded(target);
  }

  _ask(query, number) {
    const keeper = this._keepers.get(number);
    if (!keeper || this._isHeld(query)) return this.runtime.ask(query, number);
    this._keepers.delete(number);
    this.targets.leave(keeper);
  }

  show(target, changes, source) {
    const resource = this.targets.resourceOf(target);
    const recordOf = id => this.records.get(resource)?.get(id);
    show(target, changes, {
      find: (id, record = recordOf(id)) => this.find(target, resource, id, record),
      itemOf: id => source?.itemFor(target, id) ?? copy(recordOf(id)),
      onGone: model => this.destroy(model),
      onAdded: (id, model) => {
        this.models.add(resource, id, model);
        this.changes.wasSet(model);
      }
    });
  }

  // Stopping
  // --------

  stop(target) {
    const others = [...this.targets.of(this.targets.resourceOf(target)).keys()].filter(other => other !== target && isCollection(other));
    this.targets.leave(target);
    for (const model of target.models ?? [target]) {
      if (!others.some(other => other.get(model) === model)) this.models.remove(model);
    }
  }

  // Is anybody in the room?
  has(room) {
    return this.queries.isFollowed(room);
  }

  end() {
    this._isEnded = true;
    this.targets.clear();
    this.records.clear();
  }

  // Nobody is left in a room: what nobody in another room of the resource shows is not needed any more.
  _left(room) {
    const [resource] = splitRoom(room);
    this.runtime.leave(room);
    const targets = [...this.targets.of(resource).keys()];
    if (targets.some(isCollection)) return;
    this.records.get(resource)?.keep(new Set(targets.map(model => String(model.id))));
    if (targets.length) return;
    this.records.delete(resource);
    this.models.forget(resource);
  }
}

// Makes one record of JSON data the same as another, in its place.
function overwrite(record, other) {
  for (const name of Object.keys(record)) delete record[name];
  Object.assign(record, copy(other));
}
