// Backbone's handling of an answer
// --------------------------------
//
// Backbone parses and sets an answer in the success callback that it passes to `sync`. These
// functions observe that and extend it.

import {isCollection} from './backbone.js';

// Runs Backbone's callback. `keep(parse, args)`, if given, calls the `parse` of a collection and
// returns its result with additions. `after(models)` is called when the answer has been set,
// before any other callback of the page. Code of the page may throw meanwhile; then `models` is
// undefined. The method that sets it depends on Backbone's version, and
// so does whether that method calls `parse` or gets its result.
export function watchAnswer(target, run, keep, after) {
  const setters = isCollection(target) ? ['set', 'reset', 'add', 'update'] : ['set'];
  const restoreParse = overrideOnce(keep ? target : {}, 'parse', parse => (...list) => keep(parse, list));
  const restores = setters.map(name => overrideOnce(target, name, original => function(...args) {
    restore();
    let result;
    try {
      return result = original.apply(this, args);
    } finally {
      restoreParse();
      after(result);
    }
  }));
  const restore = () => restores.forEach(each => each());
  try {
    run();
  } finally {
    restoreParse();
    restore();
  }
}

// Replaces a method until its first call. Returns a function that restores it.
export function overrideOnce(object, name, make) {
  const original = object[name];
  if (!original) return () => {};
  const isOwn = Object.hasOwn(object, name);
  const restore = () => {
    if (object[name] !== substitute) return;
    if (isOwn) object[name] = original;
    else delete object[name];
  };
  const substitute = object[name] = function(...args) {
    restore();
    return make(original).apply(this, args);
  };
  return restore;
}
