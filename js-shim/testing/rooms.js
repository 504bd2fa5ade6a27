// Rooms
// -----
//
// A room is what a read follows: a whole resource, one record, a filter, or a part of a list. Each
// kind shows its own changes of the log.

import {CREATED, DESTROYED, LEFT, UPDATED} from '../src/wire.js';

// The room of a read. `criteria` are those of the read, `id` is undefined for a list.
export function roomOf(resource, id, criteria, description) {
  const isPart = description.startsWith('part');
  const matches = id === undefined ? criteria.matches : record => String(record.id) === id;
  if (isPart) return {name: `${resource}?${JSON.stringify([id, criteria.text, description, criteria.sort, criteria.select, criteria.omit])}`, resource, kind: 'part', matches};
  if (id !== undefined) return {name: `${resource}/${id}`, resource, kind: 'one', matches};
  if (criteria.isFiltered) return {name: `${resource}?${criteria.text}`, resource, kind: 'filter', matches};
  return {name: resource, resource, kind: 'whole', matches};
}

// The changes of a log that a room shows, as they are on the wire.
export function changesIn({kind, matches}, log) {
  return log.map(entry => changeIn(kind, matches, entry)).filter(change => change);
}

function changeIn(kind, matches, {offset, verb, id, set, before, after, mark}) {
  const was = before && matches(before);
  const is = after && matches(after);
  if (!was && !is) return null;
  if (kind !== 'filter' || was && is) return [offset, verb, id, verb === UPDATED ? set : after, mark];
  if (is) return [offset, CREATED, id, after, mark];
  return [offset, verb === DESTROYED ? DESTROYED : LEFT, id, null, mark];
}
