// News, in Backbone's words
// -------------------------
//
// Applies changes of one resource, in their order, to every model and collection they concern, as
// `add`, `change`, `remove` and `destroy`, once each. The options of these events have
// `realtime: true`.

import {attempt} from './attempt.js';
import {copy, isSame} from './records.js';
import {isCollection} from './rooms.js';

// The verbs of a change on the wire.
export const CREATED = 1;
export const UPDATED = 2;
export const DESTROYED = 3;
const LEFT = 4;

export class News {
  // `about` is `{resource, room, changes, except, isReading, shown}`. `room` is where it was heard. `except` is the model or collection whose own
  // request this is news of: Backbone sets it itself. `isReading`: the news comes from what somebody
  // read, so that what is new to us may still be old. `shown`: what models show, if that is not what the
  // server said.
  constructor(about, rooms, records, isWriting) {
    Object.assign(this, about);
    this._rooms = rooms;
    this._records = records;
    this._isWriting = isWriting;
    // Creates in a row: each collection gets them in one `add`.
    this._row = [];
    // Collections with changed models, for the events at the end.
    this._changed = new Map();
  }

  apply() {
    for (const [offset, verb, id, data] of this.changes) {
      const isBehind = this._records.offsetOf(id) > offset;
      if (verb === LEFT) attempt(() => this._leave(id));
      else if (!isBehind) attempt(() => this._apply(offset, verb, id, data));
      // What enters a list is shown there as it is by now.
      else if (verb === CREATED && this._records.get(id)) this._row.push([id, this._records.get(id)]);
    }
    this._addRow();
    for (const [collection, changed] of this._changed) attempt(() => announce(collection, changed));
  }

  _apply(offset, verb, id, data) {
    if (verb === DESTROYED) {
      this._addRow();
      this._destroy(id, offset);
      return;
    }
    const before = this.shown ?? this._records.get(id);
    const isWhole = verb === CREATED || before !== undefined;
    if (isWhole) this._records.put(id, {...before, ...data}, offset);
    if (verb === CREATED) this._row.push([id, data]);
    else this._addRow();
    this._update(id, before, data);
  }

  // Created
  // -------

  _addRow() {
    const row = this._row;
    this._row = [];
    if (row.length) for (const collection of this._collections()) attempt(() => this._add(collection, row));
  }

  _add(collection, row) {
    const fresh = row.filter(([id, record]) => !find(collection, id, record));
    if (!fresh.length) return;
    collection.add(fresh.map(([, record]) => copy(record)), {parse: true, merge: true, realtime: true});
  }

  // Those that follow the room or else the whole resource; what a reading showed us is news only to who has read it all.
  _collections() {
    return this._rooms.targets(this.room ?? this.resource).filter(target =>
      isCollection(target) && target !== this.except &&
      !(this.isReading && !this._rooms.isWhole(this.resource, target)));
  }

  // Updated
  // -------

  _update(id, before, data) {
    for (const model of this._models(id, data, this.except)) attempt(() => this._set(model, before, data));
  }

  // Sets what differs between the record before and after, both of them parsed. So a `parse` sees
  // whole records, and local edits of other attributes stay. While a save is on its way the edits it
  // carries stay on top as well: its reply will tell what became of them.
  _set(model, before = model.attributes, data) {
    const options = {parse: true, realtime: true};
    const was = model.parse(copy(before), options) || {};
    const is = model.parse(copy({...before, ...data}), options) || {};
    const isWriting = this._isWriting(model);
    const changes = {};
    for (const name of Object.keys(is)) {
      const isEdited = isWriting && !isSame(model.get(name), was[name]);
      if (!isSame(was[name], is[name]) && !isEdited) changes[name] = is[name];
    }
    model.set(changes, {realtime: true});
    if (Object.keys(changes).length && model.hasChanged()) this._note(model, changes);
  }

  // Remembers in which collections something has changed, and whether their order may have.
  _note(model, changes) {
    for (const collection of this._rooms.concerned(this.resource, model.id)) {
      if (!isCollection(collection) || collection.get(model) !== model) continue;
      const {comparator} = collection;
      const changed = this._changed.get(collection) || {models: new Set(), isMoved: false};
      changed.models.add(model);
      changed.isMoved ||= comparator && (typeof comparator !== 'string' || comparator in changes);
      this._changed.set(collection, changed);
    }
  }

  // Destroyed
  // ---------

  // The room of one record is `todo/7`, or `todo?[7,…]` for who may see it only as it is.
  _destroy(id, offset) {
    const record = this._records.get(id);
    this._records.delete(id, offset);
    for (const model of this._models(id, record)) attempt(() => destroy(model));
    this._rooms.close(/\?\[[^{]/.test(this.room) ? this.room : `${this.resource}/${id}`);
  }

  // A filter no longer picks it: those that follow the filter have it no more.
  _leave(id) {
    this._addRow();
    for (const collection of this._collections()) collection.remove(find(collection, id), {realtime: true});
  }

  // Each model of a record once, in however many collections it is. The one that made the request is
  // left out; so are, for `except`, the models of a collection that did.
  _models(id, record, except) {
    const models = new Set();
    for (const target of this._rooms.concerned(this.resource, id)) {
      const model = isCollection(target) ? find(target, id, record) : ofId(target, id);
      if (model && target !== except) models.add(model);
    }
    models.delete(this.except);
    return models;
  }
}

// As `model.destroy()` does: its collections remove it when they hear of it.
export function destroy(model) {
  model.stopListening();
  model.trigger('destroy', model, model.collection, {realtime: true});
}

// As `collection.set` does at its end: sorts if that changes anything, and tells of the whole.
function announce(collection, {models, isMoved}) {
  const options = {realtime: true, changes: {added: [], removed: [], merged: [...models]}};
  const order = collection.models.slice();
  if (isMoved) collection.sort({silent: true});
  if (order.some((model, index) => model !== collection.models[index])) collection.trigger('sort', collection, options);
  collection.trigger('update', collection, options);
}

// A collection with a `modelId` of its own finds a model by its record.
function find(collection, id, record) {
  return collection.get(id) || record && collection.get(record);
}

function ofId(model, id) {
  return String(model.id) === String(id) ? model : null;
}
