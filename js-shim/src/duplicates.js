// Two models of one record
// ------------------------
//
// The page may create a model without Backwire, and a push of its record may arrive before the
// answer. Once the model gets its id, it replaces the model that was added for the push.

import {idAttributeOf, indexModel, isIn, listenFirst, unlisten} from './backbone.js';
import {removeAll} from './show.js';

const watched = new WeakSet();

// `models` of the collection had no id when the push arrived.
export function watchForDuplicates(collection, models) {
  for (const model of models) {
    if (!model.isNew()) removeDuplicate(collection, model);
    else if (!watched.has(model)) watch(collection, model);
  }
}

// An id that was set silently is noticed at the next event of the model.
function watch(collection, model) {
  watched.add(model);
  const events = [`change:${idAttributeOf(model)}`, 'all'];
  const onEvent = () => {
    if (model.isNew()) return;
    for (const event of events) unlisten(model, event, onEvent);
    watched.delete(model);
    removeDuplicate(collection, model);
  };
  for (const event of events) listenFirst(model, event, onEvent);
}

function removeDuplicate(collection, model) {
  const duplicate = collection.models.find(other => other !== model && other.id === model.id);
  if (!duplicate || !isIn(collection, model)) return;
  removeAll(collection, [duplicate]);
  // The removal has deleted the id from the collection's index.
  indexModel(collection, model);
}
