// Two models of one record
// ------------------------
//
// The page may create a model without Backwire, and a push of its record may arrive before the
// answer. Once the model gets its id, it replaces the model that was added for the push.

import {idAttributeOf, indexModel, listenFirst, unlisten} from './backbone.js';

const watched = new WeakSet();

// `models` of the collection had no id when the push arrived.
export function watchForDuplicates(collection, models) {
  for (const model of models) {
    if (!model.isNew()) removeDuplicate(collection, model);
    else if (!watched.has(model)) watch(collection, model);
  }
}

function watch(collection, model) {
  watched.add(model);
  const event = `change:${idAttributeOf(model)}`;
  const onId = () => {
    unlisten(model, event, onId);
    watched.delete(model);
    removeDuplicate(collection, model);
  };
  listenFirst(model, event, onId);
}

function removeDuplicate(collection, model) {
  const duplicate = collection.models.find(other => other !== model && other.id === model.id);
  if (!duplicate || !collection.models.includes(model)) return;
  collection.remove(duplicate, {realtime: true});
  // The removal has deleted the id from the collection's index.
  indexModel(collection, model);
}
