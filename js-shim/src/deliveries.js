// What back ends send
// -------------------
//
// Events for the person who uses the page, one after the other: the next is told when the handler of
// the one before is done, and the server may forget it then.

// How often a handler is tried, and how long is waited in between.
const TRIES = 3;
const RETRY_AFTER = 1000;

export class Deliveries {
  // `handlerOf(event)` is what the page has for it: `handler(...args, {id})` is called again if it throws or
  // what it promises is broken. `done(id)`: the server may forget all up to this. `tell(event, about)`: what
  // the app has to know.
  constructor(handlerOf, done, tell) {
    this._handlerOf = handlerOf;
    this._done = done;
    this._tell = tell;
    this._last = 0n;
    // Nothing is told before the app has said what it listens to.
    this._tail = new Promise(resolve => { this.start = resolve; });
  }

  // `[, , id, [event, ...args]]` each. What is for a room of many has no id.
  take(changes) {
    for (const [, , id, said] of changes) this._tail = this._tail.then(() => this._take(id, said));
  }

  // No handler is called any more. What none has finished the server tells again, to the next page.
  end() {
    this._isEnded = true;
  }

  async _take(id, [event = 'resync', ...args], tries = TRIES) {
    if (this._isEnded || id && BigInt(id) <= this._last) return;
    try {
      await this._handlerOf(event)?.(...args, {id});
    } catch (error) {
      if (tries > 1) {
        await new Promise(resolve => setTimeout(resolve, RETRY_AFTER));
        return this._take(id, [event, ...args], tries - 1);
      }
      this._tell('undelivered', {id, event, args, error});
    }
    if (!id || this._isEnded) return;
    this._last = BigInt(id);
    this._done(id);
  }
}
