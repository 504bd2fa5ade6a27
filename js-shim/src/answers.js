// What Backbone does with an answer
// ---------------------------------
//
// Backbone parses and sets the answer to a call itself, in the success callback that it hands to `sync`. Some
// of it has to be seen, or added to, while that happens.

import {isCollection} from './targets.js';

// Runs Backbone's callback. Calls `keep(list)`, if there is one, with what `parse` made of an answer to a collection, to add
// to it; and `after(models)` when the answer has been set, before any other callback of the page. Which method
// sets it depends on Backbone's version.
export function watchAnswer(target, run, keep, after) {
  const setters = isCollection(target) ? ['set', 'reset', 'add', 'update'] : ['set'];
  const restores = setters.map(name => shadow(target, name, original => function(...args) {
    restore();
    const restoreParse = keep && shadow(target, 'parse', parse => (...list) => keep(parse.apply(target, list)));
    const result = original.apply(this, args);
    restoreParse && restoreParse();
    after(result);
    return result;
  }));
  const restore = () => restores.forEach(each => each());
  try {
    run();
  } finally {
    restore();
  }
}

// Puts another function in the place of a method until it is called, and returns what puts it back.
export function shadow(object, name, make) {
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
