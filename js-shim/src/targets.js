// Targets and their queries
// -------------------------
//
// A target is a collection or a model that was read and is live. A query is a request whose answer
// the target shows. The core knows both by their numbers; this class maps the numbers to them.
//
// Invariant: a target stays live while the page holds it or listens to it. Otherwise it may be
// garbage-collected, and is then reported to `onGone(number)`. So a target is held weakly. Its
// listeners are held (see `listenersOf`), and they refer to the target.

import {NO_ROOM} from './answer.js';
import {listenersOf} from './backbone.js';
import {LiveQuery} from './live-query.js';

export class Targets {
  constructor(onGone) {
    this._onGone = onGone;
    this._made = 0;
    // How often targets have ceased to be live.
    this.stops = 0;
    this._numbers = new WeakMap();
    // `{reference, queries}` by target number; `queries` by their text.
    this._entries = new Map();
    this._queries = new Map();
    this._registry = new FinalizationRegistry(number => this._leave(number));
  }

  // The number of a target; a new one if it has none.
  numberOf(target) {
    let number = this._numbers.get(target);
    if (!number) {
      number = this._made += 1;
      this._numbers.set(target, number);
      this._registry.register(target, number);
    }
    return number;
  }

  // The target of a number, if it is live and was not collected.
  get(number) {
    const entry = this._entries.get(number);
    const target = entry?.reference.deref();
    if (target) entry.listeners = listenersOf(target);
    return target;
  }

  // Registers a query of a target. The same request is the same query, with the same number.
  enter(target, url, headers, {resource, room, isShaped}) {
    const number = this.numberOf(target);
    if (!this._entries.has(number)) this._entries.set(number, {reference: new WeakRef(target), queries: new Map()});
    const {queries} = this._entries.get(number);
    const text = JSON.stringify([url, headers]);
    if (!queries.has(text)) queries.set(text, new LiveQuery({number: this._made += 1, target: number, text, url, headers}));
    const query = Object.assign(queries.get(text), {resource, room, isShaped});
    this._queries.set(query.number, query);
    this.get(number);
    return query;
  }

  query(number) {
    return this._queries.get(number);
  }

  // Drops the other queries of the target, which this one has replaced. Returns them.
  keepOnly(query) {
    const others = this._queriesOf(query.target).filter(other => other !== query);
    others.forEach(other => this.drop(other));
    return others;
  }

  drop({target, text, number}) {
    this._entries.get(target)?.queries.delete(text);
    this._queries.delete(number);
  }

  leave(target) {
    this._leave(this._numbers.get(target));
  }

  _leave(number) {
    if (!this._entries.has(number)) return;
    this._queriesOf(number).forEach(query => this.drop(query));
    this._entries.delete(number);
    this.stops += 1;
    this._onGone(number);
  }

  _queriesOf(number) {
    return [...this._entries.get(number)?.queries.values() ?? []];
  }

  // The live targets with a query of this resource, mapped to whether they show whole records.
  of(resource) {
    const found = new Map();
    for (const query of this._queries.values()) {
      const target = query.resource === resource && this.get(query.target);
      if (target) found.set(target, (found.get(target) ?? true) && !query.isShaped);
    }
    return found;
  }

  // The queries of a resource by mapped collections.
  mapped(resource) {
    return [...this._queries.values()].filter(query => query.shown && query.resource === resource);
  }

  isMapped(target) {
    return this._queriesOf(this._numbers.get(target)).some(query => query.shown);
  }

  // The queries whose answer is the same as that of `query`.
  like({room, number}) {
    return [...this._queries.values()].filter(query => query.number === number || query.room === room && room !== NO_ROOM);
  }

  // The resource of a live target.
  resourceOf(target) {
    const [query] = this._queriesOf(this._numbers.get(target));
    return query?.resource;
  }

  clear() {
    this.stops += 1;
    this._entries.clear();
    this._queries.clear();
  }
}
