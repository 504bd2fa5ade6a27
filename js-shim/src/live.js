// Live collections and models
// ---------------------------
//
// Collections and models are live after their first read. Replies are applied like pushes: if one
// collection reads or one model saves, the others of the resource change as well, because the core
// does not push these changes again. Two things are kept apart: the attributes of each *record*,
// which every model of it shows (`RecordStore`); and the records that a *query* selects, with their
// order, which the core decides.
//
// `refreshed.js` applies the answers to queries that were sent again. It also updates *mapped*
// collections: those whose `parse` changes or filters the list of records. Pushes do not contain
// what such a collection shows, so its queries are sent again after each change.

import {Answer, NO_ROOM, parseRoom} from './answer.js';
import {attempt} from './attempt.js';
import {holdersOf, isCollection, isHeld, isIn} from './backbone.js';
import {CollectionEvents, ModelChanges} from './changes.js';
import {attributesOf} from './edits.js';
import {RecordStore, isElsewhere} from './record-store.js';
import {copy, isPlain} from './records.js';
import {isSuccess} from './request.js';
import {destroy, removeAll, show} from './show.js';
import {CREATED, DESTROYED, LEFT, RECORD, UPDATED} from './wire.js';

export class Live {
  // `runtime` is the `Receiver`: it sends requests and knows the pending ones. `queries` is the
  // core's part (`queries.js`). `Targets` is the class of `targets.js`.
  constructor(runtime, queries, Targets) {
    Object.assign(this, {runtime, queries});
    // Models that have fired `destroy`, which they do once.
    this._destroyed = new WeakSet();
    // The placeholders of replaced queries (`former-queries.js`), by query number.
    this.placeholders = new Map();
    this.changes = new ModelChanges(runtime);
    this.targets = new Targets(number => this.decide(() => queries.stop(number)));
    this.store = new RecordStore(this.targets);
  }

  // Reads of the page
  // -----------------

  // Called when a read of the page begins or ends. The read may replace the target's queries.
  setReading(target, isBeginning) {
    const number = this.targets.numberOf(target);
    this.decide(() => (isBeginning ? this.queries.beginRead(number) : this.queries.endRead(number)));
  }

  // Learns the records of an answer before the page gets it. Returns a function that updates the
  // other targets, to be called after the page's own callbacks.
  learnRead(exchange, body, headers) {
    const answer = exchange.answer = new Answer(body, headers);
    if (!answer.isLive) return () => {};
    // The page may change the records that it gets.
    const parts = answer.isShaped && new Answer(copy(body), headers);
    const changes = this.store.learnRecords(answer);
    return () => {
      if (this._isEnded) return;
      this._wasRead(exchange, answer, changes);
      if (parts) this.runtime.shareParts(parts, exchange.model);
    };
  }

  // A target that was stopped meanwhile does not become live. Neither does a model that has read a
  // list.
  _wasRead({model: target, options, url, headers, transport: {call}, isStopped}, answer, changes) {
    const replaces = !isCollection(target) || !this.runtime.isAdding(options);
    // The target now shows other records than its former queries pick.
    if (!call.isLive && replaces) this.stop(target);
    const isFollowing = !isStopped && (isCollection(target) || !Array.isArray(answer.body));
    if (!isFollowing) return this.answered(0, answer, answer.ids(call.parsed), changes, {except: target});
    const {parsed} = call;
    const isMapped = call.isMapped || this.targets.isMapped(target);
    answer.isShaped ||= isMapped;
    const query = this.targets.enter(target, url, headers, answer);
    query.shown = isMapped && [parsed].flat().map(item => target.get(item)?.cid);
    const replaced = replaces ? this.targets.keepOnly(query) : [];
    this._destroyed.delete(target);
    this.store.register(answer, target, call);
    this.runtime.warnAboutRead(answer, url, target);
    this.updateRecords(answer.resource, changes, target);
    this.read(query, replaces, answer, this.idsFor(answer, target, parsed));
    for (const other of replaced) if (this._isHeld(other)) this.runtime.keepQuery(other);
    this._report(answer, changes);
  }

  // Whether some collection holds a model of a record of the query.
  _isHeld({resource, ids}) {
    return ids.some(id => this.store.models.of(resource, id).some(isHeld));
  }

  // Called for the answer to a query that was sent again, or to a read that no target follows
  // (`number` 0).
  answered(number, answer, ids, changes, {except, source} = {}) {
    this.updateRecords(answer.resource, changes, except);
    this.decide(() => this.queries.answered(number, answer, ids), source);
    this._report(answer, changes);
  }

  // Reports the changes of an answer to the queries of other rooms. The core does not push them.
  _report({resource, changed}, changes) {
    this.decide(() => this.queries.changed(resource, changes.filter(({verb}) => verb !== CREATED), changed));
  }

  read(query, replaces, answer, ids) {
    const {number, target} = Object.assign(query, {ids});
    const shown = this.targets.get(target);
    // A handler of another target may have stopped this one.
    this.decide(() => (shown ? this.queries.read(number, target, replaces, Boolean(shown.comparator), answer, ids) : this.queries.answered(0, answer, ids)));
  }

  // The ids of an answer. A model counts as a list of one record.
  idsFor(answer, target, parsed) {
    if (isCollection(target)) return answer.ids(parsed);
    return answer.records.map(record => String(answer.idOf(record) ?? target.id));
  }

  // Called when Backbone has set an answer on these models.
  wasSet(target, models) {
    for (const model of isCollection(target) ? Array.isArray(models) ? models : target.models : [target]) {
      if (model?.attributes) this.changes.wasSet(model);
    }
  }

  // Writes of the page
  // ------------------

  // Learns the record of a write before the page gets the answer. An answer without a record means
  // that the record was saved as sent. `updateOthers` updates the other models, and is to be called
  // after the page's own callbacks. `latest` is the record, if the page knows a newer state of it.
  learnWrite(exchange, status, body, headers) {
    const {model, method, body: sent} = exchange;
    const {resource, id} = parseRoom(headers[RECORD] ?? '');
    const {offset} = new Answer(body, headers);
    if (!isSuccess(status) || !id || !offset) return {updateOthers() {}};
    const records = this.store.records.get(resource);
    const verb = {post: CREATED, delete: DESTROYED}[method] || UPDATED;
    const record = verb === DESTROYED ? null : isPlain(body) ? copy(body) : attributesOf(sent);
    // A repeated write is answered with the record as it was after the first execution.
    const isLate = records?.isNewer(id, offset);
    const latest = isLate ? copy(records.get(id)) : undefined;
    const change = {offset, verb, id, data: record};
    const known = records && !isLate && record ? this.store.remember(records, change) : change;
    // Backbone has not set the answer yet, so a new model has the url of its create.
    const isMoved = model && isElsewhere(model, this.runtime.runtime, exchange.url);
    const updateOthers = () => {
      this.store.wasWritten(model);
      // A destroyed model may have been saved again.
      if (!isLate) this._destroyed.delete(model);
      if (model && verb === DESTROYED) this._destroyed.add(model);
      else if (model && !isCollection(model) && exchange.isShownByModel) this.store.models.add(resource, id, model, isMoved);
      this.applyChanges(resource, resource, [known], model);
    };
    return {updateOthers, latest};
  }

  // The page has aborted a request.
  wasAborted({model, isRead, body}) {
    if (isRead) this.setReading(model, false);
    else this.store.wasAborted(model, body);
  }

  // Notes the resource and the collections of the model, for a rollback if the write is refused. A
  // destroyed model has lost its collections by then.
  prepareRollback(exchange) {
    const {model, method} = exchange;
    const resource = this.store.resourceOf(model);
    const holders = [...this.targets.of(resource).keys()].filter(target => method === 'delete' && isIn(target, model));
    const places = holders.map(target => target.models.indexOf(model));
    exchange.rollback = {resource, holders, places};
  }

  // Changes
  // -------

  // Applies changes of one resource, in commit order and once each. `except` is the model or
  // collection whose request has returned them: Backbone sets the answer on it.
  applyChanges(resource, room, changes, except) {
    if (!this.store.records.has(resource)) return;
    this.updateRecords(resource, changes, except);
    this.decide(() => this.queries.changed(room, changes));
  }

  // Updates records and their models. The queries are updated afterwards, so that they add the
  // updated records.
  updateRecords(resource, changes, except) {
    const records = this.store.records.get(resource);
    const events = new CollectionEvents();
    const holders = {resource, except};
    for (const {offset, verb, id, data, before: former} of changes) {
      if (verb === LEFT || records.isNewer(id, offset)) continue;
      const before = former === undefined ? records.get(id) : former;
      const isWhole = verb === CREATED || before;
      const after = verb === DESTROYED ? undefined : verb === CREATED ? data : {...before, ...data};
      const models = this._modelsOf(holders, id, data ?? before, !after);
      if (isWhole || !after) records.put(id, after, offset);
      let left = models;
      for (const model of models) {
        // A handler of the page may have stopped targets, or uninstalled Backwire.
        if (holders.stops !== this.targets.stops) left = this._modelsOf(holders, id, data ?? before, !after);
        if (!left.includes(model)) continue;
        if (!after) this.destroy(model);
        else attempt(() => events.note(model, this.changes.update(model, before, isWhole ? after : {...model.attributes, ...data}, data), holders.targets));
      }
      if (!after) this.store.models.delete(resource, id);
    }
    events.fire();
    for (const query of changes.length ? this.targets.mapped(resource) : []) this.runtime.readMapped(query);
  }

  // The models of a record, in all collections and outside. The target of the request is left out,
  // and so are the models of a collection that made it. Models that show part of their record, or
  // belong to a mapped collection, are read again instead. `holders` has the targets of the
  // resource. They are looked up again if some were stopped.
  _modelsOf(holders, id, record, isWithParts) {
    const {resource, except} = holders;
    if (holders.stops !== this.targets.stops) this._findHolders(holders);
    const {targets, others} = holders;
    const known = this.store.models.of(resource, id);
    let models = known;
    for (const [target, isWhole] of targets) {
      const model = isWhole || isWithParts ? this._find(target, resource, id, record, known) : undefined;
      if (model && !models.includes(model)) models = [...models, model];
    }
    if (!except && !others.length) return models;
    return models.filter(model => model !== except && !others.some(collection => isIn(collection, model)));
  }

  // The page may have its own `get` and `modelId`.
  _find(target, resource, id, record, known) {
    return attempt(() => this.store.find(target, resource, id, record, known));
  }

  // `others` are the collections whose models are left out.
  _findHolders(holders) {
    const {resource, except} = holders;
    const targets = this.targets.of(resource);
    const others = [...targets.keys(), except].filter(target => isCollection(target) && (target === except || this.targets.isMapped(target)));
    Object.assign(holders, {targets, others, stops: this.targets.stops});
  }

  destroy(model) {
    if (this._destroyed.has(model)) return;
    this._destroyed.add(model);
    const holders = holdersOf(model);
    attempt(() => destroy(model));
    for (const collection of holders) removeAll(collection, [model]);
    this.targets.leave(model);
  }

  // Queries
  // -------

  // Sends the queries of a room again, after the room has lost its position in the log.
  refresh(room) {
    if (room !== NO_ROOM && !this.has(room)) return this.runtime.leave(room);
    this._isResyncing = room !== NO_ROOM;
    this.decide(() => this.queries.refresh(room));
    this._isResyncing = false;
  }

  // Passes an input to the core's part and carries out its outputs. A handler of the page may cause
  // another input meanwhile; the loop that is already running carries its outputs out. `source` has
  // the records of an answer.
  decide(input, source) {
    attempt(input);
    if (this._isDeciding || this._isEnded) return;
    this._isDeciding = true;
    for (let output; (output = this.queries.poll());) attempt(() => this._carryOut(output, source));
    this._isDeciding = false;
  }

  _carryOut([what, about, ...changes], source) {
    if (what === 'leave') return this._onRoomLeft(about);
    if (what === 'ask') return this._sendQuery(this.targets.query(about), about);
    const target = this.targets.get(about);
    if (!target || this.targets.isMapped(target)) return;
    const [added, removed, order] = changes;
    this.show(target, {added, removed, order}, source);
    if (added.length && isCollection(target)) this.runtime.findDuplicates(target);
  }

  _sendQuery(query, number) {
    if (this._isResyncing) this.runtime.runtime.notify('resync', {target: this.targets.get(query.target)});
    const placeholder = this.placeholders.get(number);
    if (!placeholder || this._isHeld(query)) return this.runtime.sendQuery(query, number);
    this.placeholders.delete(number);
    this.targets.leave(placeholder);
  }

  show(target, changes, source) {
    const resource = this.targets.resourceOf(target);
    const records = this.store.records.get(resource);
    const isWhole = this.targets.of(resource).get(target);
    show(target, changes, {
      recordOf: id => records?.get(id),
      find: (id, record) => this._find(target, resource, id, record),
      itemOf: (id, record) => source?.itemFor(target, id) ?? copy(record),
      onGone: model => this.destroy(model),
      onThrow: this.runtime.addRest,
      // A model that shows a part of its record is not updated by pushes.
      onAdded: (id, model) => {
        if (isWhole) this.store.models.add(resource, id, model);
        this.changes.wasSet(model);
      }
    });
  }

  // Stopping
  // --------

  stop(target) {
    const others = [...this.targets.of(this.targets.resourceOf(target)).keys()].filter(other => other !== target);
    this.targets.leave(target);
    for (const model of target.models ?? [target]) {
      if (!others.some(other => isIn(other, model))) this.store.models.remove(model);
    }
  }

  // Whether any query follows the room.
  has(room) {
    return this.queries.isFollowed(room);
  }

  end() {
    this._isEnded = true;
    this.targets.clear();
    this.store.clear();
  }

  // Called when the last query has left a room. Forgets the records that no other target of the
  // resource shows.
  _onRoomLeft(room) {
    const {resource} = parseRoom(room);
    this.runtime.leave(room);
    const targets = [...this.targets.of(resource).keys()];
    if (targets.some(isCollection)) return;
    this.store.records.get(resource)?.keep(new Set(targets.map(model => this.store.models.idOf(model) ?? String(model.id))));
    if (targets.length) return;
    this.store.records.delete(resource);
    this.store.models.forget(resource);
  }
}
