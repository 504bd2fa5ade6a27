// What targets show
// -----------------
//
// Adds, removes and reorders the models of one target, as its queries say, in Backbone's words. The options
// of the events have `realtime: true`.

import {attempt} from './attempt.js';
import {shadow} from './answers.js';
import {isCollection} from './targets.js';

const REALTIME = {realtime: true};

// Changes of one target, one after the other where it matters: `{added, removed, order}`, sets of ids and a list.
export class Steps {
  constructor() {
    this.list = [];
  }

  // A record that came and went meanwhile is not shown at all.
  add(added, removed, order) {
    let last = this.list.at(-1);
    if (!last || added.some(id => last.removed.has(id))) {
      last = {added: new Set(), removed: new Set()};
      this.list.push(last);
    }
    for (const id of removed) if (!last.added.delete(id)) last.removed.add(id);
    for (const id of added) last.added.add(id);
    last.order = order ?? last.order;
  }
}

// `find(id)` is the model of the target that shows a record, `itemOf(id)` what Backbone is to make one of.
export function showStep(target, {added, removed, order}, {find, itemOf, onAdded, onGone}) {
  const models = ids => [...ids].map(id => find(id)).filter(Boolean);
  const gone = models(removed);
  if (!isCollection(target)) return gone.forEach(onGone);
  if (gone.length) attempt(() => target.remove(gone, REALTIME));
  const fresh = [...added].filter(id => !find(id)).map(id => [id, itemOf(id)]).filter(([, item]) => item);
  if (fresh.length) {
    attempt(() => addAll(target, fresh.map(([, item]) => item)));
    for (const [id, item] of fresh) onAdded(id, find(id, item));
  }
  if (order && !target.comparator) attempt(() => reorder(target, models(order)));
}

// Each item is the record of a model. The collection's `parse` is for answers, and not asked about it.
function addAll(collection, items) {
  const restore = shadow(collection, 'parse', () => list => list);
  try {
    collection.add(items, {parse: true, merge: true, realtime: true});
  } finally {
    restore();
  }
}

// Models that no query orders come last, as they were.
function reorder(collection, ordered) {
  const chosen = new Set(ordered);
  const models = [...chosen, ...collection.models.filter(model => !chosen.has(model))];
  if (models.every((model, index) => model === collection.models[index])) return;
  collection.models.splice(0, models.length, ...models);
  collection.trigger('sort', collection, {realtime: true});
}

// As `model.destroy()` does: its collections remove it when they hear of it.
export function destroy(model) {
  model.stopListening?.();
  model.trigger('destroy', model, model.collection, {realtime: true});
}
