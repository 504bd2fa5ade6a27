// Live collections and models
// ---------------------------
//
// Whatever was read follows its room from then on. Pushes are news, and so are replies: what one
// collection reads or one model saves, the others of the resource hear of as well, because the core
// does not push what a reply has told already.

import {attempt} from './attempt.js';
import {attributesOf} from './edits.js';
import {News, CREATED, UPDATED, DESTROYED, destroy} from './news.js';
import {Records, copy, isPlain, isSame} from './records.js';
import {Rooms, isCollection, isWholeUrl, splitRoom} from './rooms.js';
import {isSuccess} from './xhr.js';

// How long a room waits that could not be read again.
const RETRY_AFTER = 3000;

export class Live {
  // `isWriting(model)`: is a save of it on its way? `readOf(target)`: the read of it that is on its way, if
  // one is. `unsubscribe(room)`: nobody listens any more.
  constructor(isWriting, readOf, unsubscribe) {
    this._isWriting = isWriting;
    this._readOf = readOf;
    this._unsubscribe = unsubscribe;
    this._records = new Map();
    // Of models that show what is not sent yet, the record.
    this._assumed = new WeakMap();
    // Rooms that will be read again in a while, however many of their readings have failed.
    this._retries = new Set();
    this._rooms = new Rooms(room => this._closed(room));
  }

  // Replies
  // -------

  // Takes from a reply, before the page gets hold of it, what others are to be told once the page's
  // own callbacks have run. A read also makes its collection or model live.
  learn(exchange, statusCode, body, headers) {
    const position = /^(\d+):(\d+)$/.exec(headers['backwire-position']);
    if (!isSuccess(statusCode) || !position) return null;
    const offset = Number(position[2]);
    if (headers['backwire-room']) return this._read(exchange, headers['backwire-room'], position[1], offset, body);
    if (headers['backwire-record']) return this._wrote(exchange, headers['backwire-record'], offset, body);
    return null;
  }

  _read({model: target, url, options, isStopped}, room, epoch, offset, body) {
    if (isStopped) {
      if (!this._rooms.has(room)) this._unsubscribe(room);
      return null;
    }
    const [resource, id] = splitRoom(room);
    this._rooms.enter(room, target, {url, options: kept(options)});
    if (!this._records.has(resource)) this._records.set(resource, new Records());
    const records = this._records.get(resource);
    records.enter(epoch);
    const list = (Array.isArray(body) ? body : [body]).filter(isPlain);
    const ids = list.map(record => id ?? idOf(record, target));
    const changes = [];
    list.forEach((record, index) => {
      const before = records.get(ids[index]);
      // What is newer is not told again to who gets it here.
      if (before && records.offsetOf(ids[index]) > offset) for (const name in record) record[name] = copy(before[name]);
      if (ids[index] == null || before && isSame(before, record)) return;
      changes.push([offset, before ? UPDATED : CREATED, ids[index], copy(record)]);
    });
    if (id === null && Array.isArray(body) && isWholeUrl(room + url)) {
      for (const gone of records.others(ids)) changes.push([offset, DESTROYED, gone, null]);
    }
    return {resource, changes, except: target, isReading: true};
  }

  // A reply without the record says that it was saved as sent.
  _wrote({model, method, body: sent}, room, offset, body) {
    const [resource, id] = splitRoom(room);
    const records = this._records.get(resource);
    if (!records) return null;
    const verb = {post: CREATED, delete: DESTROYED}[method] || UPDATED;
    const record = verb === DESTROYED ? null : isPlain(body) ? copy(body) : attributesOf(sent);
    // What was done long ago is answered with what was true then.
    const latest = records.offsetOf(id) > offset && copy(records.get(id));
    return {resource, changes: [[offset, verb, id, record]], except: model, latest};
  }

  // Takes back what a write of this model shows, should it be refused. To be asked for when it is made: a
  // destroyed model has lost its collection by then.
  undo(model) {
    const resource = this._rooms.resourceOf(model);
    return ({method, body}) => {
      const records = this._records.get(resource);
      const record = records?.get(model.id);
      if (method === 'post') return this._isWriting(model) || destroy(model);
      if (!record) return;
      const verb = method === 'delete' ? CREATED : UPDATED;
      const shown = {...record, ...attributesOf(body)};
      const told = Object.fromEntries(Object.keys(shown).map(name => [name, record[name]]));
      this.tell({resource, changes: [[records.offsetOf(model.id), verb, model.id, told]], shown});
    };
  }

  // The record behind a model, as the server told it last.
  recordOf(model) {
    return this._recordsOf(model)?.get(model.id) ?? this._assumed.get(model);
  }

  _recordsOf(model) {
    return this._records.get(this._rooms.resourceOf(model));
  }

  // The model shows this record, until the server tells.
  assume(model, record) {
    this._assumed.set(model, record);
  }

  // News
  // ----

  // Pushes, in commit order and once each: the core has seen to that.
  deliver(room, changes) {
    this.tell({resource: splitRoom(room)[0], room, changes});
  }

  tell(about) {
    const records = about && this._records.get(about.resource);
    if (!records) return;
    new News(about, this._rooms, records, this._isWriting).apply();
    for (const room of about.room ? [about.room] : this._rooms.of(about.resource)) {
      for (const target of this._rooms.targets(room)) {
        if (target !== about.except && this._mayMove(room, target, about)) attempt(() => this.refetch(room, target));
      }
    }
  }

  // Where a record belongs in a list without a comparator is the server's to say, if that was asked to sort it. Of a
  // part of a list it tells by itself.
  _mayMove(room, target, {changes}) {
    return isCollection(target) && !target.comparator && this._rooms.readings(room, target).some(({url}) =>
      /[?&]sort=/.test(url) && !/[?&](limit|skip|select|omit)=/.test(url) &&
      changes.some(([, verb, , data]) => verb === CREATED || verb === UPDATED && Object.keys(data).some(name => url.includes(name))));
  }

  // What a back end has told of a record, in one of the arguments; in another, that it is gone.
  hear(resource, args) {
    const record = args.filter(isPlain).pop();
    const verb = args.some(arg => /^(remove|delete|destroy)/.test(arg)) ? DESTROYED : CREATED;
    this.tell({resource, changes: [[undefined, verb, record?.id ?? args.at(-1), record]]});
  }

  // Reading again
  // -------------

  refreshAll() {
    for (const room of this._rooms.all()) this.refresh(room);
  }

  // The room has lost its place. What differs is added, changed and removed, as by pushes; a reset
  // would make views draw everything twice.
  refresh(room) {
    if (!this._rooms.has(room)) this._unsubscribe(room);
    for (const target of this._rooms.targets(room)) attempt(() => this.refetch(room, target));
  }

  // `remove: false` spares what is not saved yet. What is gone is seen here, or, from a reading of the
  // whole resource, by `learn`, which knows it to be destroyed. Here, too, a list without a comparator gets
  // the order that it was read in. However much comes while it is being read, it is read once more.
  refetch(room, target) {
    const read = this._readOf(target);
    if (read) return (read.again ??= new Set()).add(room);
    const readings = this._rooms.readings(room, target);
    const seen = new Set();
    let waiting = readings.length;
    const success = (_, body) => {
      if (!isCollection(target) || this._rooms.isWhole(room, target)) return;
      for (const record of [].concat(body)) seen.add(target.get(idOf(record, target)));
      waiting -= 1;
      if (waiting) return;
      seen.delete(undefined);
      target.set([...seen, ...target.filter(model => model.isNew())], {realtime: true});
    };
    const error = (_, xhr) => this._refetchFailed(room, target, xhr.status);
    for (const {options} of readings) target.fetch({...options, remove: false, success, error, realtime: true});
  }

  // Whoever may see it no more has it no more.
  _refetchFailed(room, target, status) {
    if (status < 400 || status >= 500 || status === 429) return this._retryLater(room);
    if ([401, 403, 404].includes(status)) {
      if (isCollection(target)) target.remove(target.filter(model => !model.isNew()), {realtime: true});
      else this.tell({resource: splitRoom(room)[0], changes: [[undefined, DESTROYED, target.id, null]]});
    }
    this.stop(target);
  }

  _retryLater(room) {
    if (this._retries.has(room)) return;
    this._retries.add(room);
    setTimeout(() => {
      this._retries.delete(room);
      if (this._rooms.has(room)) this.refresh(room);
    }, RETRY_AFTER);
  }

  // Stopping
  // --------

  stop(target) {
    this._rooms.leave(target);
  }

  has(room) {
    return this._rooms.has(room);
  }

  end() {
    this._rooms.clear();
  }

  // Nobody is left in a room: its pushes and records are not needed any more.
  _closed(room) {
    const [resource] = splitRoom(room);
    this._unsubscribe(room);
    this._records.get(resource)?.keep(id => this._rooms.isWanted(resource, id));
  }
}

// What a read needs to be done again, of the options it was made with: no callbacks, no reset.
function kept({success, error, complete, beforeSend, statusCode, context, xhr, reset, timeout, ...options}) {
  return options;
}

function idOf(record, target) {
  const {idAttribute} = isCollection(target) ? target.model.prototype || {} : target;
  return record[idAttribute] ?? record.id;
}
