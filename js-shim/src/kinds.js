// Kinds of write
// --------------
//
// The kind of a write depends on its model and its url at the call:
//
// - a *create* is the POST of a model that has no id yet, to its own url;
// - a *save* is the PUT, PATCH or DELETE of a model that has one, at its own url;
// - everything else (a list that is saved as one, an action, a search by POST) is *opaque*: it is
//   sent unchanged, and never merged, withdrawn or answered for another.

import {isCollection} from './backbone.js';

export const CREATE = 'create';
export const SAVE = 'save';
export const OPAQUE = 'opaque';

const VERBS = {create: 'post', update: 'put', patch: 'patch', delete: 'delete'};

// `method` is Backbone's, `options` are the call's, as `sync` gets them.
export function kindOf(method, model, options) {
  if (!VERBS[method] || isCollection(model) || typeof model.isNew !== 'function') return OPAQUE;
  if (options.url !== undefined && options.url !== ownUrl(model)) return OPAQUE;
  return method === 'create' ? (model.isNew() ? CREATE : OPAQUE) : model.isNew() ? OPAQUE : SAVE;
}

// The model's own url. A destroyed model has lost its collection, so this call lends it
// `collection`.
export function ownUrl(model, collection = model.collection) {
  const {collection: former} = model;
  if (former !== collection) model.collection = collection;
  try {
    return typeof model.url === 'function' ? model.url() : model.url;
  } catch {
    return undefined;
  } finally {
    if (former !== collection) {
      if (former) model.collection = former;
      else delete model.collection;
    }
  }
}
