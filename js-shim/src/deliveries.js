// What back ends send
// -------------------
//
// Events for the person who uses the page, one after the other: the next is handed over when the handler of
// the one before is done, and the server may forget it then.

// How often a handler is tried, and how long is waited in between.
const TRIES = 3;
const RETRY_AFTER = 1000;
// After this long without a handler for an event the developer is warned.
const WARN_AFTER = 10000;

export class Deliveries {
  // `handlerOf(event)` is what the page has for it, `null` to ignore it, `undefined` if the page has not said yet:
  // `handler(...args, {id})` is called again if it throws or what it promises is broken. `done(id)`: the server may forget
  // all up to this. `tell(event, about)`: what the app has to know.
  constructor(handlerOf, done, tell) {
    this._handlerOf = handlerOf;
    this._done = done;
    this._tell = tell;
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
    // What was sent to many is not kept for anybody, and does not wait.
    if (id && this._handlerOf(event) === undefined) await this._handlerFor(event);
    await this._hand(id, event, args);
    if (!id || this._isEnded) return;
    this._last = BigInt(id);
    this._done(id);
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
      if (tries === 1) return this._tell('undelivered', {id, event, args, error});
      await new Promise(resolve => setTimeout(resolve, RETRY_AFTER));
      return this._hand(id, event, args, tries - 1);
    }
  }
}
