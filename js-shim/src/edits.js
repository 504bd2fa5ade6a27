// What was edited since
// ---------------------
//
// Backbone saves the whole model. What a save means is what it changed, and that is what must not be
// lost, or lose what others have changed meanwhile.

import {SAVE} from './kinds.js';
import {isPlain, isSame} from './records.js';

// What a body says, which is JSON text or nothing.
export function attributesOf(body) {
  return JSON.parse(body || '{}');
}

// The attributes of `after` that are not the same in `before`.
function editsOf(after, before) {
  const edits = {};
  for (const name of Object.keys(after)) if (!isSame(after[name], before[name])) edits[name] = after[name];
  return edits;
}

// A save is sent as what it changes of `base`, which is what the server said last: by the time it arrives
// others may have changed the rest. A save whose body the page has changed on its way is sent as it is.
export function asPatch(exchange, base) {
  const {kind, method, body, made} = exchange;
  if (kind !== SAVE || method !== 'put' || body === undefined || body !== made) return;
  const after = attributesOf(body);
  if (!isPlain(after) || !isPlain(base)) return;
  Object.assign(exchange, {method: 'patch', body: JSON.stringify(editsOf(after, base))});
}

// At a constant url the server finds the id in the body, also if it has not changed, and of a delete.
export function nameRecord({kind, method, model, url, body}) {
  const [, last = ''] = /([^/?]*)\/?(?:\?.*)?$/.exec(url);
  if (kind !== SAVE || model.id == null || decodeURIComponent(last) === String(model.id)) return body;
  const attributes = attributesOf(body);
  if (!isPlain(attributes) || method === 'put' && model.idAttribute in attributes) return body;
  return JSON.stringify({...attributes, [model.idAttribute]: model.id});
}

// The body of a reply with the edits of `later` exchanges on it (they may be reads, which edit
// nothing). A reply tells how the record was when it was saved; what a later save changed stays on top,
// and its own reply will tell what became of it.
export function withEdits(body, {method, body: sent}, later) {
  const saves = later.filter(save => ['post', 'put', 'patch'].includes(save.method) && save.body);
  if (method === 'get' || !isPlain(body) || !saves.length) return body;
  const before = attributesOf(sent);
  const edits = saves.map(save => attributesOf(save.body)).filter(isPlain).map(after => editsOf(after, before));
  return Object.assign({...body}, ...edits);
}
