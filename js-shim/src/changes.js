// Changes of models
// -----------------
//
// Sets the attributes that differ between the former and the new state of a record, on every model
// of that record. Local edits of other attributes stay.

import {attempt, report} from './attempt.js';
import {endChange, isIn, triggerSort} from './backbone.js';
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

  // The record was `before` (undefined if unknown) and is now `after`. The attributes that differ
  // are in `data`. Returns what has changed, or undefined.
  update(model, before, after, data = after) {
    if (this._runtime.hasOwnParse(model)) return this._updateParsed(model, after);
    const was = before || model.attributes;
    const names = Object.keys(data);
    // The events of a model have the order of its record.
    const ordered = names.length > 1 ? Object.keys(after).filter(name => Object.hasOwn(data, name)) : names;
    return this._set(model, ordered, name => stateOf(was[name]), data, copy);
  }

  _updateParsed(model, after) {
    const is = model.parse(copy(after), {parse: true, realtime: true}) || {};
    const was = this._parsed.get(model) ?? statesOf(model.attributes);
    this._parsed.set(model, statesOf(is));
    return this._set(model, Object.keys(is), name => was[name], is, value => value);
  }

  // While a save is pending, the attributes that it edits stay. Its reply has their final values.
  _set(model, names, was, is, take) {
    let changes, isWriting;
    for (const name of names) {
      const state = was(name);
      if (stateOf(is[name]) === state) continue;
      isWriting ??= this._runtime.isWriting(model);
      if (!isWriting || stateOf(model.get(name)) === state) (changes ??= {})[name] = take(is[name]);
    }
    // Before 0.9.9 `hasChanged` is false once the events were fired.
    return changes && setOn(model, changes) !== false ? changes : undefined;
  }
}

// If a handler of the page throws, the attributes are set, and later changes fire their events.
function setOn(model, changes) {
  try {
    return model.set(changes, {realtime: true});
  } catch (error) {
    endChange(model);
    report(error);
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
  // `targets` has the live targets, as `Targets.of`. `changes` is undefined if nothing has changed.
  note(model, changes, targets) {
    for (const [collection] of changes ? targets : []) {
      if (!isIn(collection, model)) continue;
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
  if (isMoved) {
    const order = collection.models.slice();
    attempt(() => collection.sort({silent: true}));
    if (order.some((model, index) => model !== collection.models[index])) attempt(() => triggerSort(collection));
  }
  collection.trigger('update', collection, options);
}
