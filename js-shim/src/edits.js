// Edits of a save
// ---------------
//
// Backbone saves the whole model. Backwire sends only the attributes that the save has changed, so
// that the save does not overwrite changes of others.

import {idAttributeOf} from './backbone.js';
import {SAVE} from './kinds.js';
import {isPlain, isSame} from './records.js';
import {partsOf} from './url.js';

// Parses a body, which is JSON text or undefined.
export function attributesOf(body) {
  return JSON.parse(body || '{}');
}

// The attributes of `after` that differ from those of `before`.
function editsOf(after, before) {
  const edits = {};
  for (const name of Object.keys(after)) if (!isSame(after[name], before[name])) edits[name] = after[name];
  return edits;
}

// Turns a save into a patch of the attributes that differ from `base`, the record as the server
// sent it last. Others may change the rest before the save arrives. A save whose body a prefilter
// has changed is sent unchanged.
export function reduceToPatch(exchange, base) {
  const {kind, method, body, made} = exchange;
  if (kind !== SAVE || method !== 'put' || body === undefined || body !== made) return;
  const after = attributesOf(body);
  if (!isPlain(after) || !isPlain(base)) return;
  Object.assign(exchange, {method: 'patch', body: JSON.stringify(editsOf(after, base))});
}

// Adds the id to the body of a save or delete at a constant url, where the server needs it.
export function bodyWithId({kind, method, model, url, body}) {
  if (kind !== SAVE || model?.id == null || [`${model.id}`, encodeURIComponent(model.id)].includes(partsOf(url).segments.pop())) return body;
  const attributes = attributesOf(body);
  const name = idAttributeOf(model);
  if (!isPlain(attributes) || method === 'put' && name in attributes) return body;
  return JSON.stringify({...attributes, [name]: model.id});
}

// The body of a reply with the edits of `later` exchanges on it (they may be reads, which edit
// nothing). A reply shows the record as it was saved. The attributes that a later save edits stay
// until its own reply.
export function withEdits(body, {method, body: sent}, later) {
  const saves = later.filter(save => ['post', 'put', 'patch'].includes(save.method) && save.body);
  if (method === 'get' || !isPlain(body) || !saves.length) return body;
  const before = attributesOf(sent);
  const edits = saves.map(save => attributesOf(save.body)).filter(isPlain).map(after => editsOf(after, before));
  return Object.assign({...body}, ...edits);
}
