// A model on its way into being
// -----------------------------
//
// Until its create is answered a model has no id. Backbone by itself would create it again at each
// further save, and forget it without a word at a destroy. Here a further save waits and becomes an
// update; a destroy takes the create back, or follows it if it has left already.

import {asPatch} from './edits.js';
import {isPlain} from './records.js';
import {isSuccess, Xhr} from './xhr.js';

export class Birth {
  // `onDestroy` may take the create back.
  constructor(create, onDestroy) {
    this._create = create;
    this._isDestroyed = false;
    // Saves that wait for the id.
    this.delayed = [];
    this._watch = destroyed => {
      if (destroyed !== create.model || this._isDestroyed) return;
      this._isDestroyed = true;
      // Later, when the collections have let go of it: whoever listens to them is not concerned.
      Promise.resolve().then(() => {
        for (const {xhr} of [...this.delayed]) xhr.abort();
        onDestroy();
      });
    };
    create.model.on('destroy', this._watch);
  }

  delay(exchange) {
    this.delayed.push(exchange);
    exchange.xhr.whenAborted = () => {
      this.delayed = this.delayed.filter(delayed => delayed !== exchange);
    };
  }

  // The create has been answered, or is given up. Returns what is to be sent now: all that waited, as updates if the
  // model is there and as they were if it is not; or the delete of what nobody wants any more.
  end(statusCode, record) {
    const {model, url} = this._create;
    model.off('destroy', this._watch);
    const id = isPlain(record) ? record[model.idAttribute] ?? record.id : undefined;
    if (!isSuccess(statusCode) || id == null) return this.delayed;
    const own = `${url.replace(/\/?$/, '/')}${encodeURIComponent(id)}`;
    if (this._isDestroyed) return [followUp(own, model)];
    let former = this._create.body;
    return this.delayed.map(exchange => {
      const update = asPatch({...exchange, method: 'put', url: own}, JSON.parse(former || '{}'));
      former = exchange.body;
      return update;
    });
  }
}

function followUp(url, model) {
  const xhr = new Xhr({});
  xhr.begin();
  return {method: 'delete', url, body: undefined, timeout: 0, model, options: {}, xhr};
}
