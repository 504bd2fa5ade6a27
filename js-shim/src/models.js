// Models that the page holds
// --------------------------
//
// All models that were read, saved or pushed, by resource and id, in a collection or not. They are
// held weakly: the page decides how long they stay.

class Foreign {
  constructor(object) {
    return object;
  }
}

// The state that this script has for a model, in a private field of the model. That is ten times as
// fast as a `WeakMap`, which counts in a burst of creates.
class Known extends Foreign {
  #shown;

  static get(model) {
    return #shown in model ? model.#shown : undefined;
  }

  static set(model, shown) {
    if (!(#shown in model)) new Known(model);
    model.#shown = shown;
  }
}

export class Models {
  constructor() {
    // Weak references, by resource and id.
    this._resources = new Map();
  }

  // Notes the record of a model: `{owner, resource, id, modelId, isElsewhere}`. `modelId` is the id
  // that the model has now. A model whose id has changed since may show another record.
  // `isElsewhere` is true if the last write of the model was not sent to its own url.
  add(resource, id, model, isElsewhere) {
    if (id == null) return;
    const key = String(id);
    if (!this._resources.has(resource)) this._resources.set(resource, new Map());
    const ids = this._resources.get(resource);
    const known = ids.get(key)?.filter(reference => reference.deref()) ?? [];
    if (!known.some(reference => reference.deref() === model)) known.push(new WeakRef(model));
    ids.set(key, known);
    Known.set(model, {owner: this, resource, id: key, modelId: model.id, isElsewhere});
  }

  of(resource, id) {
    const key = String(id);
    const models = [];
    for (const reference of this._resources.get(resource)?.get(key) ?? []) {
      const model = reference.deref();
      const shown = model && Known.get(model);
      if (shown?.resource === resource && shown.id === key && shown.modelId === model.id) models.push(model);
    }
    return models;
  }

  // Another installation, or another copy of this script, may know the model as well.
  _shown(model) {
    const shown = Object(model) === model ? Known.get(model) : undefined;
    return shown?.owner === this ? shown : undefined;
  }

  // Whether a model may show a record of a resource. Either of them may be unknown.
  mayBeOf(model, resource) {
    const own = this.resourceOf(model);
    return !own || !resource || own === resource;
  }

  // Stops the updates of a model.
  remove(model) {
    if (this._shown(model)) Known.set(model);
  }

  resourceOf(model) {
    return this._shown(model)?.resource;
  }

  isElsewhere(model) {
    return this._shown(model)?.isElsewhere;
  }

  // The id of the record that a model shows, if it is known.
  idOf(model) {
    const shown = this._shown(model);
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
