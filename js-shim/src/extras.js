// What few pages need
// -------------------
//
// Ajax without jQuery, requests over HTTP while there is no socket, the push service and what the console says are in a
// file of their own, which is loaded when it is needed first. The ES module has it all in one.

// `load(callback)` fetches them and calls back with them, or with null if they cannot be had.
export class Extras {
  constructor(load) {
    this._load = load;
    this._waiting = [];
  }

  // Calls back with the extras: at once if they are there.
  use(callback) {
    if (this.loaded) return callback(this.loaded);
    if (this._waiting.push(callback) > 1) return;
    this._load(loaded => {
      this.loaded = loaded;
      for (const waiting of this._waiting.splice(0)) waiting(loaded);
    });
  }
}
