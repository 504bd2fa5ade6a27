// Random pushes
// -------------
//
// A random page with live collections and models, its edits and saves, and random pushes to it.
// `seed` decides all of it.

import {created, destroyed, updated} from './client.js';

const ROOMS = ['todo', 'todo?{"done":false}', 'todo/1'];
const LEFT = 4;

// Numbers below a bound, by a linear congruential generator.
export function randomOf(seed) {
  let state = seed * 2654435761 % 2 ** 32;
  return bound => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return Math.floor(state / 2 ** 32 * bound);
  };
}

export class RandomPage {
  // `all` is the result of `start`. `makeModel` extends the class of models. A calm page edits
  // nothing, pushes keep its lists up to date, and its server pushes what it has committed. The
  // pushes to other pages are as random as they can be. A spoiling page changes lists in place.
  constructor(all, seed, {makeModel = Todo => Todo, isCalm = false, isSpoiling = false} = {}) {
    const random = this.random = randomOf(seed);
    // `log` has all events of all collections and models, with the states that they show.
    Object.assign(this, {all, isCalm, isSpoiling, offset: 5, names: new Map(), log: [], targets: new Map()});
    this.isEditing = random(4) === 0 && !isCalm;
    this.Todo = makeModel(this._modelClass(all.Todo));
    const records = Array.from({length: random(8)}, (_, at) => this._record(at + 1));
    this.records = new Map(records.map(record => [record.id, record]));
    for (let count = 1 + random(4); count > 0; count -= 1) this._addCollection(records);
    if (random(3) === 0 && (records.length || !isCalm)) this._addModel(records[0]);
    if (random(2) === 0) this._editModels();
  }

  pick(list) {
    return list[this.random(list.length)];
  }

  // One push to each room, in one frame each. `deliver(room, changes)` delivers it.
  push(deliver) {
    const entries = Array.from({length: 1 + this.random(this.pick([2, 6, 30]))}, () => (this.isCalm ? this._commit() : this._change()));
    const changes = entries.map(([change]) => change);
    const frames = {[ROOMS[0]]: changes, [ROOMS[1]]: entries.flatMap(([, inFilter]) => inFilter), [ROOMS[2]]: changes.filter(([, , id]) => id === 1)};
    const order = this.random(2) ? ROOMS : [...ROOMS].reverse();
    for (const room of order) if (frames[room].length && (this.isCalm || this.random(8))) deliver(room, structuredClone(frames[room]));
    if (this.random(4) === 0) this._editModels();
    if (this.random(4) === 0) this._answerWrite();
    if (this.random(4) === 0) this._answerRead();
  }

  // The state that the page shows.
  state() {
    const states = {};
    for (const [target, name] of this.targets) {
      states[name] = target.models ? target.models.map(model => [this.nameOf(model), model.attributes]) : target.attributes;
    }
    return states;
  }

  nameOf(model) {
    if (!this.names.has(model)) this.names.set(model, `model ${this.names.size}`);
    return this.names.get(model);
  }

  // The page
  // --------

  _modelClass(Todo) {
    const kinds = [
      {}, {}, {},
      {defaults: {title: 'none', tags: 'none'}},
      {parse: record => ({...record, due: new Date(Number(record.n) || 0), upper: String(record.title).toUpperCase()})},
      {parse(record) { record.seen = (record.tags ?? []).length; return record; }},
      {idAttribute: 'code'},
      ...this.isCalm ? [] : [
        {initialize(attributes) { attributes.title = 'changed'; attributes.tags?.push?.('own'); }},
        {validate: ({n}) => (n === 7 ? 'seven' : undefined)}
      ]
    ];
    return Todo.extend(this.pick(kinds));
  }

  _addCollection(records) {
    const {all: {Todos, client}, Todo: model} = this;
    const page = this;
    const features = [
      {}, {}, {},
      {comparator: 'title'},
      {comparator: 'n'},
      {comparator: model => -model.get('n')},
      {comparator: (one, other) => (one.get('n') ?? 0) - (other.get('n') ?? 0)},
      {modelId: attributes => `todo:${attributes.id}`},
      {parse: list => list.filter(({done}) => !done)},
      {set(...args) { page.log.push('set'); return Todos.prototype.set.apply(this, args); }}
    ];
    const todos = new (Todos.extend({model, ...this.pick(features)}))();
    this._listen(todos, `list ${this.targets.size}`);
    const [room, data, list] = this.pick([
      ['todo', {}, records], ['todo', {}, records],
      ['todo?{"done":false}', {where: '{"done":false}'}, records.filter(({done}) => !done)],
      ...this.isCalm ? [] : [['todo', {sort: 'title asc'}, records], ['todo', {limit: 3}, records.slice(0, 3)]]
    ]);
    todos.fetch({data});
    client.read(room, this.offset, structuredClone(list));
    if (this.random(5) === 0 && !this.isCalm) todos.add({title: 'local'});
  }

  _addModel(record = {id: 1}) {
    const model = new this.Todo({id: record.id});
    this._listen(model, `alone ${this.targets.size}`);
    model.fetch();
    this.all.client.read(`todo/${record.id}`, this.offset, structuredClone(record));
  }

  _listen(target, name) {
    this.targets.set(target, name);
    target.on('all', (event, ...about) => {
      this.log.push([name, event, target.models?.map(model => this.nameOf(model)).join(), ...about.map(it => this._describe(it))]);
      if (this.isSpoiling && event === 'change') about[0].get('tags')?.push?.('own');
      this._act(event, ...about);
    });
  }

  _describe(it) {
    if (it?.attributes) return [this.nameOf(it), it.id, {...it.attributes}, it.changedAttributes(), it.previousAttributes(), Boolean(it.collection)];
    if (it?.models) return this.targets.get(it);
    const {changes} = it ?? {};
    if (!changes) return it?.realtime ? Object.keys(it) : typeof it === 'object' ? JSON.stringify(it?.responseText ?? it, ['id', 'error', 'a', 'b']) : it;
    return [Object.keys(it), ...['added', 'removed', 'merged'].map(what => changes[what]?.map(model => this.nameOf(model)).join())];
  }

  // A handler of the page.
  _act(event, model) {
    if (!this.isEditing || !model?.attributes || this.isActing || this.random(10)) return;
    this.isActing = true;
    if (event.startsWith('change')) this._edit(model);
    else if (event === 'add' && this.random(3) === 0) model.collection?.remove(model);
    else if (event === 'add') this._edit(model);
    else if (event === 'update' && this.random(4) === 0) throw new Error('of a handler');
    this.isActing = false;
  }

  _editModels() {
    for (const target of this.isCalm ? [] : this.targets.keys()) {
      const models = target.models ?? [target];
      for (const model of [...models]) if (this.random(4) === 0) this._edit(model);
    }
  }

  _edit(model) {
    const changes = {[this.pick(['title', 'n', 'tags'])]: this._value()};
    const what = this.random(12);
    if (what < 4) model.set(changes);
    else if (what < 7) model.save(changes, {wait: this.random(2) === 0});
    else if (what < 8) model.save(changes, {patch: true});
    else if (what < 9) model.unset('title');
    else if (what < 10) model.destroy({wait: this.random(2) === 0});
    else model.collection?.create({title: 'made'}, {wait: this.random(2) === 0});
  }

  _answerWrite() {
    const {client} = this.all;
    const request = client.requests.find(({method, isAnswered, isWithdrawn}) => method !== 'get' && !isAnswered && !isWithdrawn);
    if (!request) return;
    request.isAnswered = true;
    if (this.random(5) === 0) return client.answer(400, {error: 'refused'}, {}, request);
    const id = Number(request.url.split('/')[2] ?? 20 + this.random(5));
    this.offset += 1;
    client.wrote(`todo/${id}`, this.offset, request.method === 'delete' ? undefined : {...request.body, id, stamp: this.offset}, request);
  }

  // A query that the runtime has sent again.
  _answerRead() {
    const {client} = this.all;
    const request = client.requests.findLast(({method, isAnswered, url}) => method === 'get' && !isAnswered && /limit|sort/.test(url));
    if (!request) return;
    request.isAnswered = true;
    client.read('todo', this.offset, Array.from({length: 3}, (_, at) => this._record(at + 1)), request);
  }

  // Records
  // -------

  _value() {
    return this.pick([this.random(9), `t${this.random(4)}`, null, [this.random(2)], {a: this.random(2), b: [1]}]);
  }

  _record(id) {
    return {id, code: `c${id}`, title: `t${this.random(5)}`, done: this.random(2) === 0, n: this.random(9), ...this.random(2) ? {tags: this._value()} : {}};
  }

  // A change as it is pushed to the whole list, and to the filter.
  _change() {
    const change = this._randomChange();
    const [offset, , id] = change;
    return [change, [this.random(6) ? change : [offset, LEFT, id, null, 0]]];
  }

  // The same of a record of the server.
  _commit() {
    const id = 1 + this.random(10);
    const before = this.records.get(id);
    const offset = this.offset += 1;
    const data = {};
    for (const name of ['done', this.pick(['title', 'tags']), this.pick(['n', 'title'])].reverse()) data[name] = name === 'done' ? this.random(2) === 0 : name === 'n' ? this.random(9) : this._value();
    const isGone = before && this.random(5) === 0;
    const after = isGone ? undefined : before ? {...before, ...data} : this._record(id);
    if (after) this.records.set(id, after);
    else this.records.delete(id);
    const change = isGone ? destroyed(offset, id) : before ? updated(offset, id, data) : created(offset, after);
    const was = before?.done === false;
    const is = after?.done === false;
    return [change, was && is ? [change] : is ? [created(offset, after)] : was ? [isGone ? change : [offset, LEFT, id, null, 0]] : []];
  }

  _randomChange() {
    const id = 1 + this.random(10);
    const offset = this.random(12) ? this.offset += 1 : this.offset - 3;
    const what = this.random(10);
    if (what < 3) return created(offset, this._record(id));
    if (what < 4) return destroyed(offset, this.pick([id, String(id)]));
    const attributes = {};
    for (let count = this.random(3); count >= 0; count -= 1) attributes[this.pick(['title', 'n', 'tags', 'done', 'more'])] = this._value();
    if (this.random(30) === 0) attributes.code = `c${this.random(20)}`;
    return updated(offset, id, attributes);
  }
}
