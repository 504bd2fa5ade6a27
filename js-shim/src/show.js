// Updates of a target
// -------------------
//
// Removes, adds and reorders the models of a target by Backbone's own methods. The options of the
// events have `realtime: true`.

import {attempt} from './attempt.js';
import {indexModel, isCollection, isIn, listen, triggerSort, unlisten} from './backbone.js';
import {overrideOnce} from './watch-answer.js';

const REALTIME = {realtime: true};

// `removed`, `added` and `order` are lists of ids, and `recordOf(id)` is a record.
// `find(id, record)` is the model of the target that shows it. `itemOf(id, record)` is the data
// from which Backbone makes one.
export function show(target, {added, removed, order}, {recordOf, find, itemOf, onAdded, onGone, onThrow}) {
  const models = (ids = []) => ids.map(id => find(id, recordOf(id))).filter(Boolean);
  const gone = models(removed);
  if (!isCollection(target)) return gone.forEach(onGone);
  removeAll(target, gone);
  const ids = [];
  const items = [];
  for (const id of added) {
    const record = recordOf(id);
    const item = find(id, record) ? null : itemOf(id, record);
    if (!item) continue;
    ids.push(id);
    items.push(item);
  }
  const made = items.length ? addAll(target, items, onThrow) : [];
  for (const [index, id] of ids.entries()) {
    const model = made[index]?.id == id ? made[index] : find(id, items[index]);
    if (model) onAdded(id, model);
  }
  if (order && !target.comparator) attempt(() => reorder(target, models(order)));
}

// A handler of the page that throws does not keep the other models in the collection. Some versions
// of `remove` look for the id of a model, where the collection may have nothing or another model.
export function removeAll(collection, models) {
  for (const list of [models, ...models.map(model => [model])]) attempt(() => {
    const held = list.filter(model => isIn(collection, model));
    for (const model of held) if (collection.get(model) !== model) indexModel(collection, model);
    if (held[0]) collection.remove(held, REALTIME);
  });
}

// Each item is the record of a model. The collection's `parse` expects a whole answer, so it is not
// called. If code of the page throws, `onThrow(collection, items, fired)` does the rest: see
// `after-throw.js`.
export function addAll(collection, items, onThrow) {
  const restores = [overrideOnce(collection, 'parse', () => list => list)];
  // Backbone sorts the list before it fires the events, which must not miss for a comparator.
  if (collection.comparator) restores.push(overrideOnce(collection, 'sort', sort => options => attempt(() => sort.call(collection, options))));
  const fired = [];
  const note = model => fired.push(model);
  listen(collection, 'add', note);
  const made = attempt(() => collection.add(items, {parse: true, merge: true, realtime: true}) ?? []);
  unlisten(collection, 'add', note);
  restores.forEach(restore => restore());
  if (!made) onThrow(collection, items, fired);
  return fired.length === items.length ? fired : [];
}

// Models that are in no query come last, in their former order.
export function reorder(collection, ordered) {
  const models = [...new Set([...ordered, ...collection.models])];
  if (models.every((model, index) => model === collection.models[index])) return;
  collection.models.splice(0, models.length, ...models);
  triggerSort(collection);
}

// As `model.destroy()`: the collections remove a model that fires `destroy`.
export function destroy(model) {
  model.stopListening?.();
  model.trigger('destroy', model, model.collection, {realtime: true});
}
