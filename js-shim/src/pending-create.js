// A create that waits for its answer
// ----------------------------------
//
// Until its create is answered a model has no id. Backbone by itself would create it again at each
// further save, and forget it without a word at a destroy. Here a further save waits and becomes an
// update; a destroy takes the create back, or follows it if it has left already.

import {attributesOf} from './edits.js';
import {Exchange} from './exchange.js';
import {CREATE, ownUrl} from './kinds.js';

export class PendingCreate {
  // `onDestroy` may take the create back.
  constructor(create, runtime, onDestroy) {
    const {model, next} = create;
    Object.assign(this, {create, runtime, isDestroyed: next === '', collection: model?.collection});
    this.ownPath = model && runtime.pathOf(ownUrl(model) ?? '');
    // Saves that wait for the id.
    this.delayed = next ? [new Exchange({kind: CREATE, method: 'post', url: create.url, headers: create.headers, model, body: next})] : [];
    this._watch = destroyed => {
      if (destroyed !== create.model || this.isDestroyed) return;
      this.isDestroyed = true;
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
    if (this.isDestroyed) return '';
    const bodies = this.delayed.map(({body}) => attributesOf(body));
    return bodies.length ? JSON.stringify(Object.assign({}, ...bodies)) : undefined;
  }

  delay(exchange) {
    this.delayed.push(exchange);
    exchange.whenAborted = () => {
      this.delayed = this.delayed.filter(delayed => delayed !== exchange);
    };
  }

  // The create has been answered (see `created.js`), or is given up. Returns what has waited for it.
  end() {
    this.create.model?.off('destroy', this._watch);
    return this.delayed;
  }
}
