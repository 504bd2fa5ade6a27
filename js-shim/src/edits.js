// What was edited since
// ---------------------
//
// A reply tells how the record was when it was saved. If the model has been saved again meanwhile, what
// that save changed stays on top, and its own reply will tell what became of it.

import {isPlain, isSame} from './records.js';

// The body of a reply with the edits of `later` exchanges on it; they may be reads, which edit nothing.
export function withEdits(body, {method, body: sent}, later) {
  const saves = later.filter(save => ['post', 'put', 'patch'].includes(save.method) && save.body);
  if (method === 'get' || !isPlain(body) || !saves.length) return body;
  const edited = {...body};
  const before = JSON.parse(sent || '{}');
  for (const save of saves) {
    const after = JSON.parse(save.body);
    if (!isPlain(after)) continue;
    for (const name of Object.keys(after)) if (!isSame(after[name], before[name])) edited[name] = after[name];
  }
  return edited;
}
