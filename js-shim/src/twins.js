// Two models of one record
// ------------------------
//
// The page creates a model without Backwire, and a push of its record arrives before the answer: once the model
// gets its id it takes the place of the one that was added for the push.

const watched = new WeakSet();

// `models` of the collection had no id when the push arrived.
export function watchForTwins(collection, models) {
  for (const model of models) {
    if (!model.isNew()) dropTwin(collection, model);
    else if (!watched.has(model)) watch(collection, model);
  }
}

function watch(collection, model) {
  watched.add(model);
  const event = `change:${model.idAttribute}`;
  const context = {};
  model.on(event, () => {
    model.off(event, null, context);
    watched.delete(model);
    dropTwin(collection, model);
  }, context);
}

function dropTwin(collection, model) {
  const twin = collection.models.find(other => other !== model && other.id === model.id);
  if (!twin || !collection.models.includes(model)) return;
  collection.remove(twin, {realtime: true});
  // By removing the twin the collection has forgotten whose id it is.
  collection._byId[model.id] = model;
}
