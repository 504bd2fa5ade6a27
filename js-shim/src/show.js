// Updates of a target
// -------------------
//
// Removes, adds and reorders the models of a target by Backbone's own methods. The options of the
// events have `realtime: true`.

import {attempt} from './attempt.js';
import {isCollection, isIn, listen, triggerSort, unlisten} from './backbone.js';
import {overrideOnce} from './watch-answer.js';

const REALTIME = {realtime: true};

// `removed`, `added` and `order` are lists of ids. `find(id)` is the model of the target that shows
// a record. `itemOf(id)` is the data from which Backbone makes one.
export function show(target, {added, removed, order}, {find, itemOf, onAdded, onGone, onThrow}) {
  const models = (ids = []) => ids.map(id => find(id)).filter(Boolean);
  const gone = models(removed);
  if (!isCollection(target)) return gone.forEach(onGone);
  if (gone.length) removeAll(target, gone);
  const fresh = added.filter(id => !find(id)).map(id => [id, itemOf(id)]).filter(([, item]) => item);
  if (fresh.length) addAll(target, fresh.map(([, item]) => item), onThrow);
  for (const [id, item] of fresh) {
    const model = find(id, item);
    if (model) onAdded(id, model);
  }
  if (order && !target.comparator) attempt(() => reorder(target, models(order)));
}

// A handler of the page that throws does not keep the other models in the collection.
export function removeAll(collection, models) {
  attempt(() => collection.remove(models, REALTIME));
  for (const model of models) if (isIn(collection, model)) attempt(() => collection.remove(model, REALTIME));
}

// Each item is the record of a model. The collection's `parse` expects a whole answer, so it is not
// called. If code of the page throws, `onThrow(collection, items, fired)` does the rest: see
// `after-throw.js`.
export function addAll(collection, items, onThrow) {
  const restore = overrideOnce(collection, 'parse', () => list => list);
  const fired = [];
  const note = model => fired.push(model);
  listen(collection, 'add', note);
  const isDone = attempt(() => {
    collection.add(items, {parse: true, merge: true, realtime: true});
    return true;
  });
  unlisten(collection, 'add', note);
  restore();
  if (!isDone) onThrow(collection, items, fired);
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
