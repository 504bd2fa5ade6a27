// Events of back ends
// -------------------
//
// Passes the events for the user of the page to their handlers, one at a time. When a handler is
// done, the server may forget its event, and the next event is passed on.

import {attempt} from './attempt.js';
import {CREATED, DESTROYED, EXPIRES} from './wire.js';
import {isPlain} from './records.js';

// Maximum number of calls of a handler that fails, and the pause between them in milliseconds.
const TRIES = 3;
const RETRY_AFTER = 1000;
// The developer is warned if an event has waited so long for a handler.
const WARN_AFTER = 10000;

export class Deliveries {
  constructor(receiver) {
    const {runtime, live} = receiver;
    Object.assign(this, {_runtime: runtime, _live: live, _receiver: receiver});
    this._last = BigInt(0);
    // No event is passed on before the page has set its first handler.
    this._tail = new Promise(resolve => { this.handlersChanged = resolve; });
  }

  // The `data` of each change is `[event, ...args]`. Events for a room of several people have no
  // id.
  enqueue(changes) {
    for (const {data: [, seconds]} of changes.filter(isExpiry)) this._receiver.tokenExpires(seconds);
    for (const {id, data} of changes.filter(change => !isExpiry(change))) this._tail = this._tail.then(() => this._deliver(id, data));
  }

  // Calls no more handlers. The server sends unfinished events again, to the next page.
  end() {
    this._isEnded = true;
    this.handlersChanged();
  }

  async _deliver(id, [event = 'resync', ...args]) {
    if (this._isEnded) return;
    // It is confirmed again: the server sends it again because the first confirmation was lost, and
    // sends no further events before it is confirmed.
    if (id && BigInt(id) <= this._last) return this._confirm(id);
    // Events without an id do not wait for a handler: the server does not keep them.
    if (id && this._handlerOf(event) === undefined) await this._handlerFor(event);
    await this._callHandler(id, event, args);
    if (!id || this._isEnded) return;
    this._last = BigInt(id);
    this._confirm(id);
  }

  _confirm(id) {
    attempt(() => this._runtime.client.delivered(id));
  }

  // The handler of an event: `null` if the page ignores it, `undefined` if there is none yet.
  // `handler(...args, {id})` is called again if it throws or its promise is rejected.
  _handlerOf(event) {
    const {handlers, bind} = this._runtime;
    if (event in handlers) return handlers[event];
    if (bind?.[event]) return (...args) => this._applyBound(bind[event], args.slice(0, -1));
    return event === 'resync' ? () => this._live.decide(() => this._live.queries.refreshAll()) : undefined;
  }

  // Applies an event that is bound to a resource. The last object among the arguments is the
  // record. A text that begins with `remove`, `delete` or `destroy` means that it is destroyed.
  _applyBound(resource, args) {
    const record = args.filter(isPlain).pop();
    const verb = args.some(arg => /^(remove|delete|destroy)/.test(arg)) ? DESTROYED : CREATED;
    this._live.applyChanges(resource, resource, [{verb, id: record?.id ?? args.at(-1), data: record}]);
  }

  // Resolves when the page has a handler for the event, or ignores it.
  _handlerFor(event) {
    const warning = setTimeout(() => console.warn(`Backwire: the event "${event}" has no handler on this page. ` +
      `It waits, and so do the events after it: call Backwire.socket.on("${event}", handler), or Backwire.socket.ignore("${event}").`), WARN_AFTER);
    return new Promise(resolve => {
      this.handlersChanged = () => {
        if (!this._isEnded && this._handlerOf(event) === undefined) return;
        clearTimeout(warning);
        resolve();
      };
    });
  }

  async _callHandler(id, event, args, tries = TRIES) {
    if (this._isEnded) return;
    try {
      await this._handlerOf(event)?.(...args, {id});
    } catch (error) {
      if (tries === 1) return attempt(() => this._runtime.notify('undelivered', {id, event, args, error}));
      await new Promise(resolve => setTimeout(resolve, RETRY_AFTER));
      return this._callHandler(id, event, args, tries - 1);
    }
  }
}

// Backwire handles this event itself, at once.
const isExpiry = ({data}) => data?.[0] === EXPIRES;
