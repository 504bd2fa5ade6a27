// Records whose addition code of the page has interrupted
// --------------------------------------------------------
//
// Backbone indexes the models of an `add` one by one, then puts all of them in the list, then fires
// their events. If a constructor, a `parse` or a handler of the page throws, it stops there. This
// adds the other models, and fires the events that are missing.

import {attempt} from './attempt.js';
import {dropUnlisted, prepareModel, triggerSort} from './backbone.js';

const ADDED = {add: true, merge: true, remove: false, parse: true, realtime: true};

// `fired` are the models whose event `add` has reached all listeners. The next one has thrown.
export function addRest(collection, items, fired) {
  dropUnlisted(collection);
  const found = items.map(item => attempt(() => collection.get(item) ?? null));
  const models = found.filter(Boolean);
  if (models.length > fired.length) fireRest(collection, models, fired.length + 1);
  const missing = items.filter((_, index) => found[index] === null);
  const made = missing.map(item => attempt(() => prepareModel(collection, item, {...ADDED}))).filter(Boolean);
  if (made.length) attempt(() => collection.add(made, {...ADDED}));
}

function fireRest(collection, models, first) {
  for (const model of models.slice(first)) attempt(() => model.trigger('add', model, collection, {...ADDED}));
  if (collection.comparator) attempt(() => triggerSort(collection));
  attempt(() => collection.trigger('update', collection, {...ADDED, changes: {added: models, removed: [], merged: []}}));
}
