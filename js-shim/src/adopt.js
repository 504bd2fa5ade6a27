// Stores of a localStorage plugin
// -------------------------------
//
// A plugin such as Backbone.localStorage answers the calls of each model or collection that has a
// `localStorage`. The page may name such stores, and a url for each. Their models and collections
// then belong to Backwire. Records that the plugin has stored stay where they are.

// `urls` has a url for each name of a store. `original` is the `Backbone.sync` before Backwire, and
// `sync` is Backwire's. Returns whether a target is adopted, the `sync` that sends its requests by
// Ajax, and a function that gives the stores back.
export function adoptStores(Backbone, urls = {}, original, sync) {
  const urlOf = ({localStorage: store, collection}) => {
    const {name} = (typeof store === 'function' ? store() : store) ?? {};
    return Object.hasOwn(urls, name ?? '') ? urls[name] : collection && urlOf(collection);
  };
  // A plugin that was loaded before has replaced `Backbone.sync`, and keeps the former one here.
  const {ajaxSync = original} = Backbone;
  const holders = Object.keys(urls).length ? [Backbone.Model.prototype, Backbone.Collection.prototype] : [];
  // A plugin that is loaded later replaces `Backbone.sync`, so the methods are replaced.
  const formers = holders.map(holder => {
    const former = holder.sync;
    const own = holder.sync = function(method, model, ...rest) {
      const url = urlOf(this);
      if (!url) return former.call(this, method, model, ...rest);
      setUrl(this, url);
      return sync.call(this, method, model, ...rest);
    };
    return {holder, former, own};
  });
  return {
    ajaxSync,
    isAdopted: target => Boolean(holders.length && target && urlOf(target)),
    restore() {
      for (const {holder, former, own} of formers) if (holder.sync === own) holder.sync = former;
    }
  };
}

// Gives a target without a url the url of its store.
function setUrl(target, url) {
  const {collection} = target;
  if (!target.attributes) target.url ??= url;
  else if (collection) collection.url ??= url;
  else target.urlRoot ??= url;
}
