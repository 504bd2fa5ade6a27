// Requests after a create
// -----------------------

import {attributesOf} from './edits.js';
import {SAVE} from './kinds.js';
import {isPlain} from './records.js';
import {isSuccess} from './request.js';
import {partsOf} from './url.js';

// Called when a create is answered. Sends the saves of its model that waited for the answer, as
// updates if the create succeeded and unchanged if it failed. Sends a delete instead if the model
// was destroyed meanwhile.
export function sendFollowUps(pendingCreate, status, record) {
  const {create: {model, headers, body}, isDestroyed, runtime: {outbox}} = pendingCreate;
  const delayed = pendingCreate.end();
  const id = isPlain(record) ? record[model?.idAttribute] ?? record.id : undefined;
  if (!isSuccess(status) || id == null) return delayed.forEach(exchange => outbox.send(exchange));
  const url = urlOf(pendingCreate, id);
  if (isDestroyed) return outbox.sendEdits(outbox.makeExchange({kind: SAVE, method: 'delete', url, headers, model}));
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
function urlOf(pendingCreate, id) {
  const {create: {model, url}, createPath} = pendingCreate;
  const own = model && !model.isNew() && pendingCreate.modelPath();
  const {path, query} = partsOf(url);
  const {path: former} = partsOf(createPath ?? url);
  if (own && path.endsWith(former)) return path.slice(0, path.length - former.length) + own;
  return `${path}/${encodeURIComponent(id)}${query}`;
}
