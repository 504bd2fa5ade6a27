// Models and collections of Backbone
// ----------------------------------
//
// The only module that uses private fields of Backbone (`_events`, `_byId`). All versions that
// Backwire supports have them, and there is no public access to what they hold.

export function isCollection(target) {
  return Array.isArray(target?.models);
}

// The object with the listeners of a model or collection. If it has none, it gets the object to
// which Backbone adds later ones.
export function listenersOf(target) {
  return target._events ||= {};
}

// Whether a collection holds this model. Backbone's collections listen to their models.
export function isHeld(model) {
  const listeners = model._events?.all;
  return Array.isArray(listeners) && listeners.some(({context}) => isCollection(context));
}

// Makes `collection.get` find the model by its id.
export function indexModel(collection, model) {
  collection._byId[model.id] = model;
}
