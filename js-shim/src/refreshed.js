// Answers to queries that were sent again
// ---------------------------------------
//
// Models that differ from the answer are removed, added, changed and moved, as by pushes.

import {Answer, NO_ROOM} from './answer.js';
import {attempt} from './attempt.js';
import {DESTROYED} from './live.js';
import {copy} from './records.js';
import {isSuccess} from './request.js';
import {isCollection} from './targets.js';

// The pause before a failed query is sent again, in milliseconds.
const RETRY_AFTER = 3000;

// `number` is the number of the query.
export function refreshed(live, number, status, body, headers) {
  const query = live.targets.query(number);
  const answer = new Answer(body, headers);
  if (isSuccess(status) && answer.isLive) return apply(live, query, number, answer);
  const isGone = [401, 403, 404].includes(status);
  const isRefused = isGone || status >= 400 && status < 500 && ![408, 425, 429].includes(status);
  if (isRefused && query) drop(live, query, isGone);
  if (!isRefused) retryLater(live);
  live.decide(() => live.queries.failed(number, isRefused));
}

// Reads a target again that the page has read without the socket, so that it becomes live.
export function adopt(live, target, url) {
  const query = live.targets.enter(target, url, {}, {resource: ''});
  live.targets.keepOnly(query);
  live.read(query, true, {room: NO_ROOM, changed: []}, []);
  live.refresh(NO_ROOM);
}

function apply(live, query, number, answer) {
  const target = query && live.targets.get(query.target);
  if (query) Object.assign(query, {resource: answer.resource, isShaped: answer.isShaped});
  const changes = live.learnRecords(answer);
  const source = new Source(answer);
  if (answer.isShaped) showParts(live, answer, source);
  const ids = target ? live.idsFor(answer, target, isCollection(target) && source.listFor(target)) : [];
  if (query) query.ids = ids;
  live.answered(number, answer, ids, changes, {source});
}

// Targets that show parts of records are updated from the answer itself.
function showParts(live, answer, source) {
  for (const [target, isWhole] of live.targets.of(answer.resource)) {
    for (const [id, item] of isWhole ? [] : source.itemsFor(target)) {
      const model = live.find(target, answer.resource, id, item);
      if (model) attempt(() => live.changes.update(model, undefined, item));
    }
  }
}

// Drops a query that the server refuses. A record that the page may no longer read counts as
// destroyed.
function drop(live, {resource, target: number, ...query}, isGone) {
  const target = live.targets.get(number);
  live.targets.drop({target: number, ...query});
  if (isGone && target && !isCollection(target)) live.news(resource, `${resource}/${target.id}`, [[undefined, DESTROYED, target.id]]);
}

function retryLater(live) {
  live.retry ??= setTimeout(() => {
    live.retry = undefined;
    live.decide(() => live.queries.retry());
  }, RETRY_AFTER);
}

// The records of an answer, in the form from which each target makes its models.
class Source {
  constructor(answer) {
    this._answer = answer;
    this._items = new Map();
  }

  // The result of the target's own `parse`.
  listFor(target) {
    return [...this.itemsFor(target).values()];
  }

  itemFor(target, id) {
    return isCollection(target) ? this.itemsFor(target).get(id) : undefined;
  }

  itemsFor(target) {
    if (!this._items.has(target)) this._items.set(target, this._make(target));
    return this._items.get(target);
  }

  _make(target) {
    const {body, records} = this._answer;
    const parse = () => target.parse(copy(body), {parse: true, realtime: true});
    const list = isCollection(target) ? [attempt(parse) ?? []].flat() : records;
    const isAligned = Array.isArray(body) && list.length === records.length;
    const idOf = (item, index) => (isAligned ? this._answer.idOf(records[index]) : item?.[this._answer.key] ?? item?.id);
    return new Map(list.map((item, index) => [String(idOf(item, index)), item]));
  }
}
