// What Backbone does with an answer
// ---------------------------------
//
// Backbone parses and sets the answer to a call itself, in the success callback that it hands to `sync`. Some
// of it has to be seen, or added to, while that happens.

import {isCollection} from './targets.js';

// Calls `keep(list)`, if there is one, with what `parse` made of an answer to a collection, to add to it; and
// `after(models)` when the answer has been set, before any other callback of the page.
export function watchAnswer(target, options, keep, after) {
  const {success} = options;
  options.success = function() {
    const restoreParse = keep && shadow(target, 'parse', original => function(...args) {
      return keep(original.apply(this, args));
    });
    const restoreSet = SETTERS.filter(name => isCollection(target) || name === 'set').map(name =>
      shadow(target, name, original => function(...args) {
        restoreSet.forEach(restore => restore());
        const result = original.apply(this, args);
        restoreParse && restoreParse();
        after(result);
        return result;
      }));
    try {
      for (const callback of [success].flat(Infinity)) callback?.apply(this, arguments);
    } finally {
      restoreSet.forEach(restore => restore());
      restoreParse && restoreParse();
    }
  };
}

// By version, Backbone sets an answer with one of these.
const SETTERS = ['set', 'reset', 'add', 'update'];

// Puts another function in the place of a method until it is called, and returns what puts it back.
export function shadow(object, name, make) {
  const original = object[name];
  if (typeof original !== 'function') return () => {};
  const own = Object.getOwnPropertyDescriptor(object, name);
  const restore = () => {
    if (object[name] !== substitute) return;
    if (own) Object.defineProperty(object, name, own);
    else delete object[name];
  };
  const substitute = function(...args) {
    restore();
    return make(original).apply(this, args);
  };
  Object.defineProperty(object, name, {value: substitute, configurable: true, writable: true, enumerable: false});
  return restore;
}
