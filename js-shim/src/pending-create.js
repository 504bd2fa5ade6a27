// A create that waits for its answer
// ----------------------------------
//
// Until its create is answered a model has no id. Backbone by itself would create it again at each
// further save, and forget it without a word at a destroy. Here a further save waits and becomes an
// update; a destroy takes the create back, or follows it if it has left already.

import {attributesOf} from './edits.js';
import {Exchange} from './exchange.js';
import {CREATE, SAVE, ownUrl} from './kinds.js';
import {isPlain} from './records.js';
import {isSuccess} from './request.js';
import {below} from './url.js';

export class PendingCreate {
  // `onDestroy` may take the create back.
  constructor(create, runtime, onDestroy) {
    const {model, next} = create;
    this._create = create;
    this._runtime = runtime;
    this._isDestroyed = next === '';
    this._collection = model?.collection;
    this._ownPath = model && runtime.pathOf(ownUrl(model) ?? '');
    // Saves that wait for the id.
    this.delayed = next ? [new Exchange({kind: CREATE, method: 'post', url: create.url, headers: create.headers, model, body: next})] : [];
    this._watch = destroyed => {
      if (destroyed !== create.model || this._isDestroyed) return;
      this._isDestroyed = true;
      // Later, when the collections have let go of it: whoever listens to them is not concerned.
      Promise.resolve().then(() => {
        for (const exchange of [...this.delayed]) exchange.abort();
        onDestroy();
      });
    };
    model?.on('destroy', this._watch);
  }

  // All that waits, for a later page should this one not see the create answered: JSON to save, or
  // nothing to save because the model is to be destroyed.
  get next() {
    if (this._isDestroyed) return '';
    const bodies = this.delayed.map(({body}) => attributesOf(body));
    return bodies.length ? JSON.stringify(Object.assign({}, ...bodies)) : undefined;
  }

  delay(exchange) {
    this.delayed.push(exchange);
    exchange.whenAborted = () => {
      this.delayed = this.delayed.filter(delayed => delayed !== exchange);
    };
  }

  // The create has been answered, or is given up. Returns what is to be sent now: all that waited, as updates if the
  // model is there and as they were if it is not; or the delete of what nobody wants any more.
  end(status, record) {
    const {model, headers} = this._create;
    model?.off('destroy', this._watch);
    const id = isPlain(record) ? record[model?.idAttribute] ?? record.id : undefined;
    if (!isSuccess(status) || id == null) return this.delayed;
    const url = this._urlOf(id);
    if (this._isDestroyed) return [new Exchange({kind: SAVE, method: 'delete', url, headers, model})];
    let former = this._create.body;
    return this.delayed.map(exchange => {
      Object.assign(exchange, {kind: SAVE, method: 'put', url, base: attributesOf(former)});
      if (exchange.isMade) exchange.made = exchange.body;
      former = exchange.body;
      return exchange;
    });
  }

  // The model says it, by now. Something of the page may have changed the url of the create on its way, as by adding a
  // prefix: then that is done here as well.
  _urlOf(id) {
    const {model, url} = this._create;
    const own = model && !model.isNew() ? this._runtime.pathOf(ownUrl(model, model.collection ?? this._collection) ?? '') : null;
    const [path, ownPath] = [url, this._ownPath ?? url].map(it => it.replace(/\?.*/, ''));
    if (own && path.endsWith(ownPath)) return path.slice(0, path.length - ownPath.length) + own;
    return below(url, id);
  }
}
