// Pending writes over an answer
// -----------------------------

import {idAttributeOf, isIn} from './backbone.js';
import {attributesOf} from './edits.js';
import {OPAQUE} from './kinds.js';
import {isPlain} from './records.js';

// The body of an answer to a read of `target`. The unanswered writes of models that the target
// shows stay on top of its records, unless they are to be shown when they are answered (`wait`).
export function withPendingWrites({resource, body}, target, {outbox, live}) {
  const isShown = ({model, rollback: {holders}}) => model === target || holders?.includes(target) || isIn(target, model);
  const isOnTop = ({kind, model, isRead, options}) =>
    !isRead && kind !== OPAQUE && model && !model.isNew() && !options.wait && resource && live.store.resourceOf(model) === resource;
  const writes = outbox.all.filter(write => isOnTop(write) && isShown(write));
  const overlay = record => {
    const own = isPlain(record) ? writes.filter(({model}) => String(model.id) === String(record[idAttributeOf(model)])) : [];
    for (const write of own) write.isShownOnTop = true;
    if (own.some(({method}) => method === 'delete')) return null;
    return own.length ? Object.assign({...record}, ...own.map(write => attributesOf(write.body))) : record;
  };
  return Array.isArray(body) ? body.map(overlay).filter(Boolean) : overlay(body) ?? body;
}
