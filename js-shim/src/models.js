// Models that the page holds
// --------------------------
//
// All models that were read, saved or pushed, by resource and id, in a collection or not. They are
// held weakly: the page decides how long they stay.

export class Models {
  constructor() {
    // Weak references, by resource and id.
    this._resources = new Map();
    this._resourceOf = new WeakMap();
  }

  add(resource, id, model) {
    if (id == null) return;
    if (!this._resources.has(resource)) this._resources.set(resource, new Map());
    const ids = this._resources.get(resource);
    const known = (ids.get(String(id)) ?? []).filter(reference => reference.deref());
    if (!known.some(reference => reference.deref() === model)) known.push(new WeakRef(model));
    ids.set(String(id), known);
    this._resourceOf.set(model, resource);
  }

  of(resource, id) {
    const references = this._resources.get(resource)?.get(String(id)) ?? [];
    const models = references.flatMap(reference => reference.deref() ?? []);
    // A model that was read from another resource since is a model of that one.
    return models.filter(model => this._resourceOf.get(model) === resource);
  }

  // Stops the updates of a model.
  remove(model) {
    this._resourceOf.delete(model);
  }

  resourceOf(model) {
    return this._resourceOf.get(model);
  }

  // Forgets the models of a destroyed record.
  delete(resource, id) {
    this._resources.get(resource)?.delete(String(id));
  }

  // Forgets a resource that has no live query any more.
  forget(resource) {
    this._resources.delete(resource);
  }
}
