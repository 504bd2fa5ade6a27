// The answer to a read
// --------------------
//
// Parses the `backwire-*` headers of an answer to a read, and finds the ids of the records in its
// body.

import {isLiveId} from './change.js';
import {isPlain} from './records.js';
import {POSITION, QUERY, QUERY_KEY, QUERY_OMIT, QUERY_POPULATE, QUERY_SELECT, QUERY_UNDECLARED, ROOM} from './wire.js';

// The room of queries that could not join one, such as reads over HTTP.
export const NO_ROOM = '-?';

export class Answer {
  constructor(body, headers) {
    const [, epoch, offset] = /^(\d+):(\d+)$/.exec(headers[POSITION]) ?? [];
    this.body = body;
    this.epoch = epoch;
    this.offset = Number(offset);
    this.room = headers[ROOM] ?? NO_ROOM;
    this.resource = this.room === NO_ROOM ? '' : parseRoom(this.room).resource;
    this.description = headers[QUERY];
    const [kind, ...members] = (this.description ?? '').split(';');
    this.kind = kind;
    this.key = 'id';
    // The ids of records that were created since, and the attributes in which records differ from
    // the known ones.
    this.newer = [];
    this.changed = new Set();
    for (const member of members) {
      const [name, value] = member.split('=');
      if (name === QUERY_KEY) this.key = decodeURIComponent(value);
      if ([QUERY_SELECT, QUERY_OMIT, QUERY_POPULATE].includes(name)) this.isShaped = true;
      if (name === QUERY_UNDECLARED) this.isUndeclared = true;
    }
  }

  // Whether the target of the read can be live.
  get isLive() {
    return this.epoch !== undefined && (this.room !== NO_ROOM || this.description !== undefined);
  }

  // The records, if the body is a record or a list of records.
  get records() {
    const list = Array.isArray(this.body) ? this.body : [this.body];
    return list.every(isPlain) ? list : [];
  }

  idOf(record) {
    return record[this.key];
  }

  // Removes the records for which `isGone(id)` is true: the page knows that they are destroyed.
  leaveOut(isGone) {
    if (Array.isArray(this.body)) this.body = this.body.filter(record => !isGone(this.idOf(record ?? {})));
    this._ids = Array.isArray(this.body) ? this.records.map(record => this.idOf(record)) : undefined;
    this.hasIds = this._ids && !this._ids.includes(undefined);
  }

  // The ids of a list, in its order. If a handler has wrapped the list, the ids come from the
  // result of `parse`.
  ids(parsed) {
    const idOf = item => item?.attributes ? item.id : item?.[this.key] ?? item?.id;
    const ids = this._ids ?? [parsed ?? this.body].flat().map(idOf);
    return [...ids, ...this.newer].filter(id => id != null && isLiveId(id)).map(String);
  }
}

// The resource and the id in the name of a room: `todo` and `7` of `todo/7`. The rooms of a whole
// resource and of a filter (`todo?…`) have no id.
export function parseRoom(room) {
  const [, resource, id] = /^([^/?]*)(?:\/(.*))?/.exec(room);
  return {resource, id};
}
