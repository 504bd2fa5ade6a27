// Answers to queries that were sent again
// ---------------------------------------
//
// Models that differ from the answer are removed, added, changed and moved, as by pushes.

import {addRest} from './after-throw.js';
import {NO_ROOM} from './answer.js';
import {attempt} from './attempt.js';
import {isCollection} from './backbone.js';
import {copy} from './records.js';
import {isSuccess} from './request.js';
import {addAll, removeAll, reorder} from './show.js';
import {DESTROYED} from './wire.js';

// The pause before a failed query is sent again, in milliseconds.
const RETRY_AFTER = 3000;

// `number` is the number of the query.
export function refreshed(live, number, status, answer) {
  const query = live.targets.query(number);
  const isAnswered = isSuccess(status) && answer.isLive;
  const isGone = [401, 403, 404].includes(status);
  const isRefused = !isAnswered && (isGone || status >= 400 && status < 500 && ![408, 425, 429].includes(status));
  if (isRefused && query) drop(live, query, isGone);
  if (isAnswered) applyAnswer(live, query, number, answer);
  else {
    if (!isRefused) retryLater(live, query);
    live.decide(() => live.queries.failed(number, isRefused));
  }
  if (query?.isSentAgain) readNext(live, query, isAnswered);
}

// Sends the query of a mapped collection again: after the answer, if one is pending.
export function readMapped(live, query) {
  query.isStale = query.isSentAgain;
  if (query.isSentAgain) return;
  query.isSentAgain = true;
  live.runtime.sendQuery(query, query.number);
}

function readNext(live, query, isAnswered) {
  query.isSentAgain = false;
  if (query.isStale && isAnswered && live.targets.query(query.number) === query) readMapped(live, query);
}

// Reads a target again that the page has read without the socket, so that it becomes live.
export function makeLive(live, target, url) {
  const query = live.targets.enter(target, url, {}, {resource: '', room: NO_ROOM});
  live.targets.keepOnly(query);
  live.read(query, true, {room: NO_ROOM, changed: []}, []);
  live.refresh(NO_ROOM);
}

function applyAnswer(live, query, number, answer) {
  const target = query && live.targets.get(query.target);
  const {resource, room} = answer;
  const isShaped = answer.isShaped || Boolean(query?.shown);
  if (query) Object.assign(query, {resource, room, isShaped});
  const changes = live.store.learnRecords(answer);
  const source = new Source(answer);
  if (answer.isShaped && query) showParts(live, answer, source, live.targets.like(query));
  const list = target && isCollection(target) && source.listFor(target);
  if (target && query.shown) attempt(() => showMapped(live, target, query, list));
  const ids = target ? live.idsFor(answer, target, list) : [];
  if (query) query.ids = ids;
  live.answered(number, answer, ids, changes, {source});
}

// Shows the answer to a read of the page in the other targets with the same parts of records. The
// core has decided that they show these records, but only the answer has them.
export function shareParts(live, answer, reader) {
  const source = new Source(answer);
  const others = live.targets.like(answer).filter(({target, shown}) => !shown && live.targets.get(target) !== reader);
  showParts(live, answer, source, others);
  const added = answer.ids();
  for (const {target: number} of others) {
    const target = live.targets.get(number);
    const isAll = target?.models?.every(({id}) => added.includes(String(id)));
    if (target) live.show(target, {added, removed: [], order: isAll && added}, source);
  }
}

// Targets that show the same parts of records are updated from the answer itself.
function showParts(live, answer, source, queries) {
  for (const {target: number, shown} of queries) {
    const target = !shown && live.targets.get(number);
    for (const [id, item] of target ? source.itemsFor(target) : []) {
      attempt(() => {
        const model = live.store.find(target, answer.resource, id, item);
        if (model) live.changes.update(model, undefined, item);
      });
    }
  }
}

// Shows the result of a collection's `parse`, in its order.
function showMapped(live, target, query, list) {
  const modelOf = item => target.get(item);
  for (const item of list.filter(modelOf)) attempt(() => live.changes.update(modelOf(item), undefined, item));
  const added = list.filter(item => !modelOf(item));
  if (added.length) addAll(target, added, addRest);
  const models = list.map(modelOf).filter(Boolean);
  const former = query.shown;
  query.shown = models.map(({cid}) => cid);
  const kept = new Set(live.targets.mapped(query.resource).flatMap(other => (other.target === query.target ? other.shown : [])));
  const removed = target.models.filter(({cid}) => former.includes(cid) && !kept.has(cid));
  removeAll(target, removed);
  if (!target.comparator) attempt(() => reorder(target, models));
}

// Drops a query that the server refuses. A record that the page may no longer read counts as
// destroyed.
function drop(live, query, isGone) {
  const {resource, target: number} = query;
  const target = live.targets.get(number);
  if (isGone && target && query.shown) showMapped(live, target, query, []);
  live.targets.drop(query);
  if (isGone && target && !isCollection(target)) live.applyChanges(resource, `${resource}/${target.id}`, [{verb: DESTROYED, id: target.id}]);
}

function retryLater(live, query) {
  if (query?.isSentAgain) setTimeout(() => readMapped(live, query), RETRY_AFTER);
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
