// Models that the page holds
// --------------------------
//
// All models that were read, saved or pushed, by resource and id, in a collection or not. They are
// held weakly: the page decides how long they stay.

export class Models {
  constructor() {
    // Weak references, by resource and id.
    this._resources = new Map();
    // The record of a model: `{resource, id, modelId}`. `modelId` is the id that the model had
    // then. A model whose id has changed since may show another record.
    this._shown = new WeakMap();
  }

  add(resource, id, model) {
    if (id == null) return;
    if (!this._resources.has(resource)) this._resources.set(resource, new Map());
    const ids = this._resources.get(resource);
    const known = ids.get(String(id))?.filter(reference => reference.deref()) ?? [];
    if (!known.some(reference => reference.deref() === model)) known.push(new WeakRef(model));
    ids.set(String(id), known);
    this._shown.set(model, {resource, id: String(id), modelId: model.id});
  }

  of(resource, id) {
    const key = String(id);
    const models = [];
    for (const reference of this._resources.get(resource)?.get(key) ?? []) {
      const model = reference.deref();
      const shown = model && this._shown.get(model);
      if (shown?.resource === resource && shown.id === key && shown.modelId === model.id) models.push(model);
    }
    return models;
  }

  // Stops the updates of a model.
  remove(model) {
    this._shown.delete(model);
  }

  resourceOf(model) {
    return this._shown.get(model)?.resource;
  }

  // The id of the record that a model shows, if it is known.
  idOf(model) {
    const shown = this._shown.get(model);
    return shown?.modelId === model.id ? shown?.id : undefined;
  }

  // Forgets the models of a destroyed record.
  delete(resource, id) {
    this._resources.get(resource)?.delete(String(id));
  }

  clear() {
    this._resources.clear();
  }

  // Forgets a resource that has no live query any more.
  forget(resource) {
    this._resources.delete(resource);
  }
}
