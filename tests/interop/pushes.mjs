// The events that a client has received so far
// --------------------------------------------

import {setTimeout as sleep} from 'node:timers/promises';

export class Pushes {
  // `listen` is given the function to call with each push.
  constructor(listen) {
    this.all = [];
    this._changed = () => {};
    listen((...push) => {
      this.all.push(push);
      this._changed();
    });
  }

  // Waits until there are so many, and returns them: the arguments of each.
  async count(count) {
    const late = new AbortController();
    const tooLate = sleep(10_000, undefined, {signal: late.signal}).then(() => {
      throw new Error(`${count} pushes are waited for; so far: ${JSON.stringify(this.all)}`);
    });
    while (this.all.length < count) {
      await Promise.race([new Promise(resolve => { this._changed = resolve; }), tooLate]);
    }
    late.abort();
    await tooLate.catch(() => {});
    return this.all;
  }
}
