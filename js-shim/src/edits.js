// What was edited since
// ---------------------
//
// Backbone saves the whole model. What a save means is what it changed, and that is what must not be
// lost, or lose what others have changed meanwhile.

import {isPlain, isSame} from './records.js';

// What a body says, which is JSON text or nothing.
export function attributesOf(body) {
  return JSON.parse(body || '{}');
}

// The attributes of `after` that are not the same in `before`.
export function editsOf(after, before) {
  const edits = {};
  for (const name of Object.keys(after)) if (!isSame(after[name], before[name])) edits[name] = after[name];
  return edits;
}

// An update is sent as what it changes of `base`, which is what the server said last: by the time it
// arrives others may have changed the rest. How long it will be on its way nobody knows, on a line that
// stands still least of all.
export function asPatch(exchange, base) {
  const after = exchange.body && JSON.parse(exchange.body);
  if (exchange.method !== 'put' || !isPlain(after) || !isPlain(base)) return exchange;
  return {...exchange, method: 'patch', body: JSON.stringify(editsOf(after, base))};
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
