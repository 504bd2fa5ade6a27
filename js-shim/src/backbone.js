// Models and collections of Backbone
// ----------------------------------
//
// The only module that uses private fields of Backbone, because there is no public access to what
// they hold: `_byId`, `_changing`, `_onModelEvent`, and the listeners in `_events` or, before
// 0.9.9, in `_callbacks`. It also knows the other differences between old versions. Backbone has
// `listenTo` since 0.9.9.

import {attempt} from './attempt.js';

export function isCollection(target) {
  return Array.isArray(target?.models);
}

// Returns an object that refers to a model or collection as long as it has listeners: the one with
// its listeners, to which Backbone adds later ones. Each of them refers to the target. Older
// listeners do not, so it is the target itself. 0.5 sets a removed listener to null, and 0.9.2
// removes the list.
export function listenersOf(target) {
  if (target.listenTo) return target._events ||= {};
  return Object.values(target._callbacks ?? {}).flat().some(Boolean) && target;
}

// The collections that hold this model. Backbone's collections listen to their models. The
// listeners of a collection of Backbone 0.5 look like those of the page.
export function holdersOf(model) {
  return listenersToAll(model).map(it => it?.context).filter(isCollection);
}

// Whether a collection holds this model, or may hold it.
export function isHeld(model) {
  return listenersToAll(model).some(it => it && (!model.listenTo || isCollection(it.context)));
}

function listenersToAll(model) {
  return [(model._events ?? model._callbacks)?.all].flat();
}

// Whether the collection has this model, and not another one of the same record. A collection does
// not learn the id of a model that was set silently, so `get` may not find the model. It also makes
// a text of the model, which takes longer than all the rest. Since 0.9.10 both indexes are one.
export function isIn(collection, model) {
  return (collection._byCid ?? collection._byId)?.[model.cid] === model;
}

// Whether `collection.get` finds the same model by a record as by its id.
export function isFoundById(collection, id, record) {
  return record.cid == null && String(collection.modelId ? collection.modelId(record) : record.id) === String(id);
}

// The name of the id of a model, which need not be known. The page may have a getter that throws.
export function idAttributeOf(model) {
  return attempt(() => model?.idAttribute) ?? 'id';
}

// Makes `collection.get` find the model by its id.
export function indexModel(collection, model) {
  collection._byId[model.id] = model;
}

// Backbone before 0.9 has `bind` and `unbind` only. `unbind` takes no context.
export function listen(target, event, listener) {
  (target.on ?? target.bind).call(target, event, listener);
}

// Adds a listener before those of the page, so that one that throws does not keep it from being
// called. The listeners of Backbone 0.9.2 are no list.
export function listenFirst(target, event, listener) {
  listen(target, event, listener);
  const listeners = (target._events ?? target._callbacks)[event];
  if (Array.isArray(listeners)) listeners.unshift(listeners.pop());
}

export function unlisten(target, event, listener) {
  (target.off ?? target.unbind).call(target, event, listener);
}

// Removes the models from the index of a collection that are not in its list: an `add` was
// interrupted between both.
export function dropUnlisted(collection) {
  const listed = new Set(collection.models);
  for (const [key, model] of Object.entries(collection._byId)) {
    if (listed.has(model)) continue;
    delete collection._byId[key];
    if (model.collection === collection) delete model.collection;
    unlisten(model, 'all', collection._onModelEvent);
  }
}

// Makes a model as the collection's `add` does. Returns false if it is not valid.
export function prepareModel(collection, item, options) {
  return collection._prepareModel(item, options);
}

// Called when a `set` of the model has thrown. Backbone would take every later one for a call of
// its handlers, and fire no `change`.
export function endChange(model) {
  model._changing = false;
}

// Fires the event by which views learn that a collection is in another order.
export function triggerSort(collection) {
  collection.trigger(collection.listenTo ? 'sort' : 'reset', collection, {realtime: true});
}
