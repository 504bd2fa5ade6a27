// What back ends send
// -------------------
//
// Events for the person who uses the page, one after the other: the next is handed over when the handler of
// the one before is done, and the server may forget it then.

import {attempt} from './attempt.js';
import {CREATED, DESTROYED} from './live.js';
import {isPlain} from './records.js';

// How often a handler is tried, and how long is waited in between.
const TRIES = 3;
const RETRY_AFTER = 1000;
// After this long without a handler for an event the developer is warned.
const WARN_AFTER = 10000;

export class Deliveries {
  constructor({runtime, live}) {
    Object.assign(this, {_runtime: runtime, _live: live});
    this._last = 0n;
    // Nothing is handed over before the app has said what it listens to.
    this._tail = new Promise(resolve => { this.handlersChanged = resolve; });
  }

  // `[, , id, [event, ...args]]` each. What is for a room of many has no id.
  take(changes) {
    for (const [, , id, content] of changes) this._tail = this._tail.then(() => this._take(id, content));
  }

  // No handler is called any more. What none has finished the server sends again, to the next page.
  end() {
    this._isEnded = true;
    this.handlersChanged();
  }

  async _take(id, [event = 'resync', ...args]) {
    if (this._isEnded || id && BigInt(id) <= this._last) return;
    // Events for many have no id: the server does not keep them, and they do not wait.
    if (id && this._handlerOf(event) === undefined) await this._handlerFor(event);
    await this._hand(id, event, args);
    if (!id || this._isEnded) return;
    this._last = BigInt(id);
    attempt(() => this._runtime.client.delivered(id));
  }

  // The handler of an event; `null` if the page ignores it, `undefined` if it has not registered one yet.
  // `handler(...args, {id})` is called again if it throws or its promise is rejected.
  _handlerOf(event) {
    const {handlers, bind} = this._runtime;
    if (event in handlers) return handlers[event];
    if (bind?.[event]) return (...args) => this._hear(bind[event], args.slice(0, -1));
    return event === 'resync' ? () => this._live.decide(() => this._live.queries.refreshAll()) : undefined;
  }

  // What a back end has sent of a record, in one of the arguments; in another, that it is gone.
  _hear(resource, args) {
    const record = args.filter(isPlain).pop();
    const verb = args.some(arg => /^(remove|delete|destroy)/.test(arg)) ? DESTROYED : CREATED;
    this._live.news(resource, resource, [[undefined, verb, record?.id ?? args.at(-1), record]]);
  }

  // Resolves when the page has a handler for the event, or ignores it.
  _handlerFor(event) {
    const warning = setTimeout(() => console.warn(`Backwire: "${event}" was sent to this page, which has no handler for it. It waits, ` +
      `and what follows it waits too: call Backwire.socket.on("${event}", handler), or Backwire.socket.ignore("${event}").`), WARN_AFTER);
    return new Promise(resolve => {
      this.handlersChanged = () => {
        if (!this._isEnded && this._handlerOf(event) === undefined) return;
        clearTimeout(warning);
        resolve();
      };
    });
  }

  async _hand(id, event, args, tries = TRIES) {
    if (this._isEnded) return;
    try {
      await this._handlerOf(event)?.(...args, {id});
    } catch (error) {
      if (tries === 1) return attempt(() => this._runtime.tell('undelivered', {id, event, args, error}));
      await new Promise(resolve => setTimeout(resolve, RETRY_AFTER));
      return this._hand(id, event, args, tries - 1);
    }
  }
}
