// The answer to a read
// --------------------
//
// What the server said of a request in the headers of its answer, and the records in the body, known by the
// ids that the server knows them by.

import {isPlain} from './records.js';

// Where what could not join a room is, such as what was read over HTTP.
export const NO_ROOM = '-?';

export class Answer {
  constructor(body, headers) {
    const [, epoch, offset] = /^(\d+):(\d+)$/.exec(headers['backwire-position']) ?? [];
    this.body = body;
    this.epoch = epoch;
    this.offset = Number(offset);
    this.room = headers['backwire-room'] ?? NO_ROOM;
    this.resource = this.room === NO_ROOM ? '' : splitRoom(this.room)[0];
    this.description = headers['backwire-query'];
    const [kind, ...members] = (this.description ?? '').split(';');
    this.kind = kind;
    this.key = 'id';
    // Ids of records that have been created since, and the attributes in which the page knew others otherwise.
    this.newer = [];
    this.changed = new Set();
    for (const member of members) {
      const [name, value] = member.split('=');
      if (name === 'key') this.key = decodeURIComponent(value);
      if (/^(select|omit|populate)$/.test(name)) this.isShaped = true;
      if (name === 'undeclared') this.isUndeclared = true;
    }
  }

  // Its target can be live.
  get isLive() {
    return this.epoch !== undefined && (this.room !== NO_ROOM || this.description !== undefined);
  }

  // The records, if the body is a list of them or one of them.
  get records() {
    const list = Array.isArray(this.body) ? this.body : [this.body];
    return list.every(isPlain) ? list : [];
  }

  idOf(record) {
    return record[this.key];
  }

  // Leaves out what this page knows to be gone: `isGone(id)`.
  leaveOut(isGone) {
    if (Array.isArray(this.body)) this.body = this.body.filter(record => !isGone(this.idOf(record ?? {})));
    this._ids = Array.isArray(this.body) ? this.records.map(record => this.idOf(record)) : undefined;
    this.hasIds = this._ids && !this._ids.includes(undefined);
  }

  // The ids of a list, in its order. A handler may have wrapped it: then they are those of what `parse` made of it.
  ids(parsed) {
    const idOf = item => item?.attributes ? item.id : item?.[this.key] ?? item?.id;
    const ids = this._ids ?? [parsed ?? this.body].flat().map(idOf);
    return [...ids, ...this.newer].filter(id => id != null).map(String);
  }
}

// `todo` and `7` of `todo/7`. Of the room of a filter, `todo?…`, it is the resource.
export function splitRoom(room) {
  const [, resource, id] = /^([^/?]*)(?:\/(.*))?/.exec(room);
  return [resource, id ?? null];
}
