// Two models of one record
// ------------------------
//
// The page has made a model by itself, without us, and its record has been pushed before the answer came: once the
// model gets its id it takes the place of the one that was added for the push.

const watched = new WeakSet();

// `isOurs(model)`: is its create one of ours, whose push waits for the answer?
export function watchForTwins(collection, isOurs) {
  for (const model of collection.models) {
    if (!model.isNew() || isOurs(model) || watched.has(model)) continue;
    watched.add(model);
    const event = `change:${model.idAttribute}`;
    const context = {};
    model.on(event, () => {
      model.off(event, null, context);
      watched.delete(model);
      dropTwin(collection, model);
    }, context);
  }
}

function dropTwin(collection, model) {
  const twin = collection.models.find(other => other !== model && other.id === model.id);
  if (!twin || !collection.models.includes(model)) return;
  collection.remove(twin, {realtime: true});
  // By removing the twin the collection has forgotten whose id it is.
  collection._byId[model.id] = model;
}
