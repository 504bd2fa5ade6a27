// Records of former pages
// -----------------------
//
// A fetch may replace the records of a collection while another collection still holds models of
// the former records, such as a list that grows page by page. A `Keeper` stands in for a
// collection, so that the former query stays live.

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

// Whether a collection holds this model. Backbone's collections listen to their models.
export function isHeld(model) {
  const listeners = model._events?.all;
  return Array.isArray(listeners) && listeners.some(({context}) => isCollection(context));
}
