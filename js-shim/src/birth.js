// A model on its way into being
// -----------------------------
//
// Until its create is answered a model has no id. Backbone by itself would create it again at each
// further save, and forget it without a word at a destroy. Here a further save waits and becomes an
// update; a destroy takes the create back, or follows it if it has left already.

import {asPatch, attributesOf} from './edits.js';
import {isPlain} from './records.js';
import {isSuccess, Xhr} from './xhr.js';

export class Birth {
  // `onDestroy` may take the create back.
  constructor(create, onDestroy) {
    const {model, url, next} = create;
    this._create = create;
    this._isDestroyed = next === '';
    // Saves that wait for the id.
    this.delayed = next ? [followUp('post', url, model, next)] : [];
    this._watch = destroyed => {
      if (destroyed !== create.model || this._isDestroyed) return;
      this._isDestroyed = true;
      // Later, when the collections have let go of it: whoever listens to them is not concerned.
      Promise.resolve().then(() => {
        for (const {xhr} of [...this.delayed]) xhr.abort();
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
    exchange.xhr.whenAborted = () => {
      this.delayed = this.delayed.filter(delayed => delayed !== exchange);
    };
  }

  // The create has been answered, or is given up. Returns what is to be sent now: all that waited, as updates if the
  // model is there and as they were if it is not; or the delete of what nobody wants any more.
  end(statusCode, record) {
    const {model, url} = this._create;
    model?.off('destroy', this._watch);
    const id = isPlain(record) ? record[model?.idAttribute] ?? record.id : undefined;
    if (!isSuccess(statusCode) || id == null) return this.delayed;
    const own = `${url.replace(/\/?$/, '/')}${encodeURIComponent(id)}`;
    if (this._isDestroyed) return [followUp('delete', own, model)];
    let former = this._create.body;
    return this.delayed.map(exchange => {
      const update = asPatch({...exchange, method: 'put', url: own}, attributesOf(former));
      former = exchange.body;
      return update;
    });
  }
}

// Shows what a reply says of a model, where no callback of Backbone's does.
export function showReply(model, xhr) {
  xhr.done(body => body && model?.set(model.parse(body, {}), {realtime: true}));
}

function followUp(method, url, model, body) {
  const xhr = new Xhr({});
  xhr.begin();
  if (body) showReply(model, xhr);
  return {method, url, body, timeout: 0, model, xhr};
}
