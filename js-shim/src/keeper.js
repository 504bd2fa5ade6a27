// Records of former pages
// -----------------------
//
// A fetch has replaced what a collection shows, and another collection still holds models of the former records, as a
// list does that grows page by page. Their query stays live, for a collection that shows nothing.

import {isCollection} from './targets.js';

export class Keeper {
  constructor() {
    this.models = [];
    this.comparator = true;
  }

  parse(list) {
    return list;
  }

  get() {}
  add() {}
  remove() {}
}

// Does a collection hold this model? Backbone has each listen to its models.
export function isHeld(model) {
  const listeners = model._events?.all;
  return Array.isArray(listeners) && listeners.some(({context}) => isCollection(context));
}
