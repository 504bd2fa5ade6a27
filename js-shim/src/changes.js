// Changes of models
// -----------------
//
// Sets the attributes that differ between the former and the new state of a record, on every model
// of that record. Local edits of other attributes stay.

import {attempt} from './attempt.js';
import {isCollection, triggerSort} from './backbone.js';
import {copy, stateOf} from './records.js';

export class ModelChanges {
  constructor(runtime) {
    this._runtime = runtime;
    // The states of the last result of `parse`, by model, for models with a `parse` of the page.
    this._parsed = new WeakMap();
  }

  // Called when Backbone has set an answer on the model.
  wasSet(model) {
    if (this._runtime.hasOwnParse(model)) this._parsed.set(model, statesOf(model.attributes));
  }

  // The record was `before` (undefined if unknown) and is now `after`.
  update(model, before, after) {
    const is = model.parse(copy(after), {parse: true, realtime: true}) || {};
    const hasOwnParse = this._runtime.hasOwnParse(model);
    const was = hasOwnParse ? this._parsed.get(model) : before && statesOf(before);
    if (hasOwnParse) this._parsed.set(model, statesOf(is));
    return this._set(model, was ?? statesOf(model.attributes), is);
  }

  // While a save is pending, the attributes that it edits stay. Its reply has their final values.
  _set(model, was, is) {
    const isWriting = this._runtime.isWriting(model);
    const changes = {};
    for (const name of Object.keys(is)) {
      const isEdited = isWriting && stateOf(model.get(name)) !== was[name];
      if (stateOf(is[name]) !== was[name] && !isEdited) changes[name] = is[name];
    }
    if (!Object.keys(changes).length) return changes;
    // Before 0.9.9 `hasChanged` is false once the events were fired.
    return model.set(changes, {realtime: true}) === false ? {} : changes;
  }
}

function statesOf(attributes) {
  const states = {};
  for (const name of Object.keys(attributes)) states[name] = stateOf(attributes[name]);
  return states;
}

// The collections whose models have changed. Each fires its events once, at the end.
export class CollectionEvents {
  constructor() {
    this._changed = new Map();
  }

  // Notes the collections of a changed model, and whether its place in them may have changed.
  note(model, changes, targets) {
    for (const collection of Object.keys(changes).length ? targets : []) {
      if (!isCollection(collection) || collection.get(model) !== model) continue;
      const {comparator} = collection;
      const changed = this._changed.get(collection) || {models: new Set(), isMoved: false};
      changed.models.add(model);
      changed.isMoved ||= comparator && (typeof comparator !== 'string' || comparator in changes);
      this._changed.set(collection, changed);
    }
  }

  // Ends as `collection.set` does: sorts if that changes the order, and fires `sort` and `update`.
  fire() {
    for (const [collection, changed] of this._changed) attempt(() => fireEvents(collection, changed));
  }
}

function fireEvents(collection, {models, isMoved}) {
  const options = {realtime: true, changes: {added: [], removed: [], merged: [...models]}};
  const order = collection.models.slice();
  if (isMoved) collection.sort({silent: true});
  if (order.some((model, index) => model !== collection.models[index])) triggerSort(collection);
  collection.trigger('update', collection, options);
}
