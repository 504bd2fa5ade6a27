// Models that the page holds
// --------------------------
//
// Every model that was read, saved or pushed, by resource and id, for as long as the page holds it, in whichever
// collections it is or is not. They are held weakly.

export class Models {
  constructor() {
    // By resource, by id: weak references.
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
    // One that was read from elsewhere since is a model of that.
    return models.filter(model => this._resourceOf.get(model) === resource);
  }

  // The model is to change no more by itself.
  remove(model) {
    this._resourceOf.delete(model);
  }

  resourceOf(model) {
    return this._resourceOf.get(model);
  }

  // The record is gone: its models are models of nothing.
  delete(resource, id) {
    this._resources.get(resource)?.delete(String(id));
  }

  // Forgets a resource that nobody follows any more.
  forget(resource) {
    this._resources.delete(resource);
  }
}
