// Pending creates
// ---------------
//
// A model has no id until its create is answered. Plain Backbone creates it again at each further
// save, and sends nothing when it is destroyed. Here a further save waits and becomes an update. A
// destroy withdraws the create, or follows it if the create was already sent.

import {attempt} from './attempt.js';
import {idAttributeOf, listen, unlisten} from './backbone.js';
import {attributesOf} from './edits.js';
import {Exchange} from './exchange.js';
import {CREATE, SAVE, ownUrl} from './kinds.js';
import {isPlain} from './records.js';
import {isSuccess} from './request.js';
import {partsOf} from './url.js';

export class PendingCreate {
  // `create` is the exchange of the create. `onDestroy` is called after its model was destroyed,
  // and may withdraw it.
  constructor(create, runtime, onDestroy) {
    const {model, next} = create;
    Object.assign(this, {create, runtime, isDestroyed: next === '', collection: model?.collection});
    // The path of the model's own url before it has an id.
    this.createPath = this.modelPath();
    // Saves that wait for the id.
    this.delayed = next ? [new Exchange({kind: CREATE, method: 'post', url: create.url, headers: create.headers, model, body: next})] : [];
    this._watch = destroyed => {
      if (destroyed !== create.model || this.isDestroyed) return;
      this.isDestroyed = true;
      // Later, when the collections no longer forward events of the model to their listeners.
      Promise.resolve().then(() => {
        for (const exchange of [...this.delayed]) exchange.abort();
        onDestroy();
      });
    };
    if (model) listen(model, 'destroy', this._watch);
  }

  // The path of the model's own url. A destroyed model has lost its collection.
  modelPath() {
    const {model} = this.create;
    return model && this.runtime.pathOf(ownUrl(model, model.collection ?? this.collection) ?? '');
  }

  // The waiting edits, kept for the next page in case this page closes before the answer: JSON to
  // save, or an empty string if the model was destroyed.
  get next() {
    if (this.isDestroyed) return '';
    const bodies = this.delayed.map(({body}) => attributesOf(body));
    return bodies.length ? JSON.stringify(Object.assign({}, ...bodies)) : undefined;
  }

  // Lets a save wait for the id.
  delay(exchange) {
    this.delayed.push(exchange);
    exchange.whenAborted = () => {
      this.delayed = this.delayed.filter(delayed => delayed !== exchange);
      this.runtime.outbox.keep(this.create);
    };
  }

  // Called when the create is answered or given up. Returns the saves that waited for it.
  end() {
    const {model} = this.create;
    if (model) unlisten(model, 'destroy', this._watch);
    return this.delayed;
  }

  // Called when the create is answered. Sends the saves that waited for the answer, as updates if
  // the create succeeded and unchanged if it failed. Sends a delete instead if the model was
  // destroyed meanwhile.
  sendFollowUps(status, record) {
    const {create: {model, headers, body}, isDestroyed, runtime: {outbox}} = this;
    const delayed = this.end();
    const id = isPlain(record) ? record[idAttributeOf(model)] ?? record.id : undefined;
    if (!isSuccess(status) || id == null) return delayed.forEach(exchange => outbox.send(exchange));
    const url = this._urlOf(id);
    if (isDestroyed) {
      // With `wait`, the answer has added the destroyed model to its collection.
      attempt(() => model?.collection?.remove(model));
      return outbox.sendEdits(outbox.makeExchange({kind: SAVE, method: 'delete', url, headers, model}));
    }
    let former = body;
    for (const exchange of delayed) {
      const base = attributesOf(former);
      former = exchange.body;
      if (exchange.isMade) exchange.made = former;
      outbox.sendEdits(Object.assign(exchange, {kind: SAVE, method: 'put', url}), base);
    }
  }

  // The url of the created model. If the page has changed the url of the create, for example by a
  // prefilter that adds a prefix, this url is changed in the same way.
  _urlOf(id) {
    const {create: {model, url}, createPath} = this;
    const own = attempt(() => model && !model.isNew()) && this.modelPath();
    const {path, query} = partsOf(url);
    const {path: former} = partsOf(createPath ?? url);
    if (own && path.endsWith(former)) return path.slice(0, path.length - former.length) + own;
    return `${path}/${encodeURIComponent(id)}${query}`;
  }
}
