// Known records and their models
// ------------------------------
//
// The records of all live resources, and the models that show them. Answers to reads and changes
// are compared with these records: a record never goes back to an earlier state.

import {idAttributeOf, isCollection, isFoundById, isIn} from './backbone.js';
import {isLiveId} from './change.js';
import {attributesOf} from './edits.js';
import {ownUrl} from './kinds.js';
import {Models} from './models.js';
import {Records, copy, isSame} from './records.js';
import {parseJson} from './request.js';
import {partsOf, plainPath} from './url.js';
import {CREATED, DESTROYED, UPDATED} from './wire.js';

export class RecordStore {
  constructor(targets) {
    this._targets = targets;
    // The `Records` of each resource, by its name.
    this.records = new Map();
    this.models = new Models();
    // The records of models that show unsent writes, by model.
    this.assumed = new WeakMap();
    // The attributes of aborted writes, by model.
    this._aborted = new WeakMap();
  }

  // Answers
  // -------

  // Updates the answer where the page knows newer records, and removes destroyed ones. Returns the
  // changes for other models.
  learnRecords(answer) {
    const {resource, offset} = answer;
    if (answer.isShaped || !resource) return answer.leaveOut(() => false) ?? [];
    if (!this.records.has(resource)) this.records.set(resource, new Records());
    const records = this.records.get(resource);
    records.enter(answer);
    const changes = [];
    for (const record of answer.records) {
      const id = answer.idOf(record);
      const before = id != null && records.get(id);
      if (records.isNewer(id, offset)) before && overwrite(record, before);
      else if (before && isSame(before, record)) records.put(id, before, offset);
      else if (id != null && isLiveId(id)) changes.push(this.remember(records, {offset, verb: before ? UPDATED : CREATED, id, data: copy(record)}));
      // Lists may be sorted by these attributes.
      if (before) for (const name in record) if (!isSame(before[name], record[name])) answer.changed.add(name);
    }
    answer.leaveOut(id => records.isNewer(id, offset) && !records.get(id));
    if (answer.kind === 'whole' && answer.hasIds) {
      for (const other of records.others(answer.ids(), offset)) {
        if (records.isNewer(other, offset)) answer.newer.push(other);
        else changes.push({offset, verb: DESTROYED, id: other});
      }
    }
    return changes;
  }

  // Stores the record at once, so that a save in a callback of the answer is compared with it. The
  // change that it returns has the previous record, which other models still show.
  remember(records, change) {
    const {offset, verb, id, data} = change;
    const before = records.get(id);
    if (verb === CREATED || before) records.put(id, verb === CREATED ? data : {...before, ...data}, offset);
    return {...change, before: before ?? null};
  }

  // `parsed` is the body after the page's `parse`. `models` are the models that Backbone made of
  // it.
  register(answer, target, {parsed = answer.body, models}) {
    if (answer.isShaped) return;
    const isAligned = Array.isArray(models) && parsed.length === answer.records.length;
    answer.records.forEach((record, index) => {
      const id = answer.idOf(record) ?? target.id;
      const model = !isCollection(target) ? target : isAligned && models[index] || this.find(target, answer.resource, id, record);
      if (model?.attributes) this.models.add(answer.resource, id, model);
    });
  }

  // Writes
  // ------

  // A write that was aborted, or that the page's own XMLHttpRequest sends, may be executed.
  wasAborted(model, body) {
    if (model) this._aborted.set(model, {...this._aborted.get(model), ...parseJson(body, {})});
  }

  // The record of the model was written at last.
  wasWritten(model) {
    this._aborted.delete(model);
  }

  clear() {
    this.records.clear();
    this.models.clear();
  }

  // Lookup
  // ------

  // The record as the server has it, without the attributes that pending or aborted writes change.
  // The server may refuse or execute these writes, so the next save sends the attributes again.
  // There is none for a request that a hook of the page has sent to another record.
  baseOf(model, outbox, exchange) {
    const record = model && !this._isElsewhere(model, outbox.runtime, exchange.url) && this.recordOf(model);
    if (!record) return;
    const base = {...record};
    // Reads have no body.
    for (const {body} of outbox.requestsOf(model)) for (const name in attributesOf(body)) delete base[name];
    for (const name in this._aborted.get(model)) delete base[name];
    return base;
  }

  // Whether the url of a request does not end with the record of the model, and is not the model's
  // own url either.
  _isElsewhere(model, runtime, url) {
    const resource = this.resourceOf(model);
    if (!resource || plainPath(url).endsWith(`/${resource}/${encodeURIComponent(model.id)}`.toLowerCase())) return false;
    return this.models.isElsewhere(model) || isElsewhere(model, runtime, url);
  }

  // The record of a model as the server sent it last.
  recordOf(model) {
    const records = this.records.get(this.resourceOf(model));
    return records?.get(this.idOf(model, records)) ?? this.assumed.get(model);
  }

  // The id of the record of a model. The `idAttribute` of a model may be another attribute than the
  // key of the records.
  idOf(model, {key} = {}) {
    return this.models.idOf(model) ?? (idAttributeOf(model) === key ? model.id : undefined);
  }

  // The resource of a model, if the resource is live.
  resourceOf(model) {
    return this.models.resourceOf(model) ?? this._targets.resourceOf(model) ?? this._targets.resourceOf(model?.collection);
  }

  // Whether the path names a live resource.
  follows(path) {
    const {segments} = partsOf(path.toLowerCase());
    return [...this.records.keys()].some(resource => segments.includes(resource));
  }

  // The model of a target that shows a record. A collection with its own `modelId` finds it by the
  // record.
  find(target, resource, id, record, models = this.models.of(resource, id)) {
    if (!isCollection(target)) return String(this.models.idOf(target) ?? target.id) === String(id) ? target : undefined;
    const isOfRecord = model => model && this.models.mayBeOf(model, resource) && (this.models.idOf(model) ?? String(id)) === String(id);
    const model = models.find(known => isIn(target, known)) ?? target.get(id);
    if (isOfRecord(model)) return model;
    if (record && !isFoundById(target, id, record)) return [target.get(record)].find(isOfRecord);
  }
}

// Whether a url is not the model's own: the page has given another one, or a hook has changed it.
export function isElsewhere(model, runtime, url) {
  return plainPath(runtime.pathOf(ownUrl(model) ?? '') ?? '') !== plainPath(url);
}

// Replaces the attributes of a record in place.
function overwrite(record, other) {
  for (const name of Object.keys(record)) delete record[name];
  Object.assign(record, copy(other));
}
