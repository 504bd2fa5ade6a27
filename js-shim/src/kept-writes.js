// Kept writes
// -----------
//
// This page sends the writes that an earlier page has kept, and shows them while they cannot be
// sent. A write that had waited and is refused is rolled back, because its form is no longer open.

import {attempt} from './attempt.js';
import {isCollection} from './backbone.js';
import {attributesOf} from './edits.js';
import {CREATE, OPAQUE, SAVE, ownUrl} from './kinds.js';
import {RESTORED} from './outbox.js';
import {copy, isSame} from './records.js';
import {parseJson} from './request.js';
import {reorder} from './show.js';
import {partsOf, plainPath} from './url.js';
import {LEDGER_RETENTION} from './wire.js';

// How long a page waits for the locks of earlier pages, in milliseconds. The browser releases the
// locks of the last page while this one begins.
const LOCK_PATIENCE = 100;

// Sends the kept writes of earlier pages again. No call waits for their replies, but live models
// show them. The writes of a page that is open in another tab are left to it, and sent when it is
// closed. Calls `done` when the others are sent.
export function restore(outbox, done) {
  const {kept} = outbox;
  const sessions = new Set(writesIn(kept).map(({owner}) => owner));
  if (!kept.locks) {
    send(outbox, sessions);
    return done();
  }
  let end;
  const sent = new Promise(resolve => { end = resolve; });
  const free = new Set();
  const decide = session => new Promise(decided => {
    kept.lock(session, () => {
      free.add(session);
      decided();
      // If the lock comes late, the others are sent already.
      return sent.then(() => free.delete(session) && attempt(() => sendLate(outbox, session)));
    }).catch(decided);
    setTimeout(decided, LOCK_PATIENCE);
  });
  Promise.all([...sessions].map(decide)).then(() => {
    attempt(() => send(outbox, free));
    free.clear();
    end();
    done();
  });
}

// Sends the kept writes of a session whose lock came late, and shows them on the targets of reads
// that are pending already.
function sendLate(outbox, session) {
  send(outbox, new Set([session]));
  for (const exchange of outbox.all) if (exchange.isRead) showKept(outbox, exchange);
}

// Sends the kept writes of these sessions.
function send(outbox, sessions) {
  for (const {at, name, owner, ...write} of writesIn(outbox.kept)) {
    if (!sessions.has(owner)) continue;
    outbox.kept.names.set(write.key, name);
    // The server's ledger may have forgotten the write, and would execute it again.
    if (Date.now() - at > LEDGER_RETENTION) {
      outbox.kept.forget(write.key);
      reportLost(outbox, write);
    } else {
      outbox.hasRestored = true;
      outbox.begin(outbox.makeExchange({...write, made: write.body, isRestored: true, isQueued: true}), RESTORED, write.key);
    }
  }
}

// Returns `{key, kind, method, url, headers, body, record, next, owner, at, name}` for each kept
// write. Skips items of other scripts.
function writesIn({storage, prefix, itemNames}) {
  return itemNames.flatMap(name => {
    const write = parseJson(storage.getItem(name), null);
    if (!write?.key || !write.method || !write.url) return [];
    return [{...write, name, at: parseInt(name.slice(prefix.length))}];
  });
}

// The server may have forgotten the key, so it is unknown whether the write was executed.
function reportLost({runtime}, {method, url, body}) {
  Promise.resolve().then(() => runtime.notify('lost', {method, url, body}));
}

// Called when a write that had waited was refused, or was not answered for a week.
export function waitedWriteFailed(outbox, exchange, status, reason) {
  const {method, url, body, isRestored} = exchange;
  if (!status) return reason === 'outdated' && reportLost(outbox, exchange);
  if (isRestored) exchange.model ??= modelAt(outbox.runtime, url);
  const {model} = exchange;
  // A 404 means that the record is gone: a push removes its models.
  if (status !== 404) attempt(() => rollBack(outbox, exchange));
  if (!isRestored) return;
  console.warn(`Backwire: a write that was kept while offline was refused with status ${status}: ${method.toUpperCase()} ${url}`);
  outbox.runtime.notify('rejected', {write: {method, url, body}, status, model: model ?? null});
  model?.trigger('error', model, {status}, {realtime: true});
}

// Rolls back the edits of a refused write, as far as its model still shows them.
function rollBack({runtime: {live}}, {kind, method, model, body, isRestored, rollback}) {
  if (kind === CREATE) return model && !live.runtime.isWriting(model) && live.destroy(model);
  const {resource = live.store.resourceOf(model), holders = [], places} = rollback;
  const records = live.store.records.get(resource);
  const record = model && records?.get(live.store.idOf(model, records));
  // The answer to a pending read will bring the other attributes.
  if (!record && isRestored && model && method !== 'delete') revert(model, attributesOf(body), {});
  if (!record) return;
  for (const [index, collection] of holders.entries()) bringBack(live, collection, String(model.id), places[index]);
  if (method !== 'delete') for (const each of live.store.models.of(resource, model.id)) revert(each, attributesOf(body), record);
}

// Adds the record of a refused destroy to a collection, at its former place.
function bringBack(live, collection, id, place) {
  live.show(collection, {added: [id]});
  const model = collection.get(id);
  if (!model || collection.comparator) return;
  const others = collection.models.filter(other => other !== model);
  reorder(collection, [...others.slice(0, place), model]);
}

// The model whose own url is that of a write, if a live collection holds one.
function modelAt(runtime, url) {
  const {live} = runtime;
  const targets = [...live.store.records.keys()].flatMap(resource => [...live.targets.of(resource).keys()]);
  const isAt = model => plainPath(runtime.pathOf(ownUrl(model) ?? '') ?? '') === plainPath(url);
  return targets.flatMap(target => target.models ?? target).find(isAt);
}

function revert(model, edits, record) {
  const is = model.parse(copy(record), {parse: true, realtime: true}) || {};
  const changes = {};
  for (const name of Object.keys(edits)) {
    if (isSame(model.get(name), edits[name]) && !isSame(is[name], edits[name])) changes[name] = is[name];
  }
  model.set(changes, {realtime: true});
}

// Display of kept writes
// ----------------------

// While the server cannot be reached, a fetch shows the kept writes of its target. Its reply
// replaces them.
export function showKept(outbox, {model: target, url}) {
  const writes = outbox.isOnline ? [] : outbox.all.filter(({isRestored}) => isRestored);
  const destroyed = writes.filter(({method}) => method === 'delete').map(write => plainPath(write.url));
  for (const write of writes) {
    const model = !destroyed.includes(plainPath(write.url)) && attempt(() => show(write, target, url));
    if (!model) continue;
    outbox.runtime.live.store.assumed.set(model, write.record);
    if (write.model) continue;
    write.model = model;
    if (write.kind === CREATE) outbox.trackCreate(write);
  }
}

// Shows a kept write on a target that reads this url. Returns its model, or null.
function show({record, model, method, kind, url: written}, target, url) {
  const isShown = record && method !== 'delete' && kind !== OPAQUE;
  if (!isShown || !isOf(written, kind, target, url, record) || !isPicked(record, url)) return null;
  const options = {parse: true, merge: true, realtime: true};
  if (!isCollection(target)) return target.set(target.parse(copy(record), options), options);
  // Before 0.9.9 `add` does not merge, and before 1.0 it returns the collection.
  const held = target.models.find(other => other === model) ?? target.get(idIn(record, target));
  if (held && held !== model) held.set(held.parse(copy(record), options), options);
  if (held) return held;
  const others = new Set(target.models);
  const [shown] = [target.add(model || copy(record), options)].flat();
  return isCollection(shown) ? target.models.find(added => !others.has(added)) : shown;
}

// Whether a read of `url` includes the record written at `written`, however they are spelled.
function isOf(written, kind, target, url, record) {
  const [write, read] = [written, url].map(plainPath);
  if (!isCollection(target)) return kind === SAVE && write === read;
  const own = idIn(record, target);
  return write === read || kind === SAVE && own != null && write === `${read}/${encodeURIComponent(own)}`.toLowerCase();
}

function idIn(record, {model}) {
  return record[model?.prototype?.idAttribute || 'id'];
}

const NOT_A_FILTER = /^(where|sort|skip|limit|select|omit|populate|page|per_page|offset|order|_)(\[|$)/;

// Whether a record has the values in the query. Only the server can check more than equality.
function isPicked(record, url) {
  const query = new URLSearchParams(partsOf(url).query);
  const isEqual = (name, value) => String(record[name]) === String(value);
  return [...query].every(([name, value]) => {
    const [, inner] = /^where\[([^[\]]+)\]$/.exec(name) ?? [];
    if (inner) return isEqual(inner, value);
    if (name === 'where') return Object.entries(parseJson(value, {})).every(([each, it]) => Object(it) === it || isEqual(each, it));
    return NOT_A_FILTER.test(name) || !(name in record) || isEqual(name, value);
  });
}
