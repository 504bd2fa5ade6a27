// Requests after a create
// -----------------------

import {attributesOf} from './edits.js';
import {Exchange} from './exchange.js';
import {SAVE, ownUrl} from './kinds.js';
import {isPlain} from './records.js';
import {isSuccess} from './request.js';
import {below} from './url.js';

// Returns the requests to send after a create was answered. These are the saves that waited for it,
// as updates if it succeeded and unchanged if it failed; or a delete, if the model was destroyed
// meanwhile.
export function followUps(pending, status, record) {
  const {create: {model, headers, body}, isDestroyed} = pending;
  const delayed = pending.end();
  const id = isPlain(record) ? record[model?.idAttribute] ?? record.id : undefined;
  if (!isSuccess(status) || id == null) return delayed;
  const url = urlOf(pending, id);
  if (isDestroyed) return [new Exchange({kind: SAVE, method: 'delete', url, headers, model})];
  let former = body;
  return delayed.map(exchange => {
    Object.assign(exchange, {kind: SAVE, method: 'put', url, base: attributesOf(former)});
    if (exchange.isMade) exchange.made = exchange.body;
    former = exchange.body;
    return exchange;
  });
}

// The url of the created model. If the page has changed the url of the create, for example by a
// prefilter that adds a prefix, this url is changed in the same way.
function urlOf({create: {model, url}, collection, ownPath, runtime}, id) {
  const own = model && !model.isNew() ? runtime.pathOf(ownUrl(model, model.collection ?? collection) ?? '') : null;
  const [path, former] = [url, ownPath ?? url].map(it => it.replace(/\?.*/, ''));
  if (own && path.endsWith(former)) return path.slice(0, path.length - former.length) + own;
  return below(url, id);
}
