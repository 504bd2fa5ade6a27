// Parts in files of their own
// ---------------------------
//
// `backwire.js` sends the first requests of a page. It loads two more files: the `receiver`, for answers, pushes and live
// collections, from the start; and the `extras`, which few pages need, on demand. The ES module contains everything.

export class Part {
  // `load(callback)` fetches the part and calls back with it, or with null if it cannot be had.
  constructor(load) {
    this._load = load;
    this._waiting = [];
  }

  // Calls back with the part: at once if it is there.
  use(callback) {
    if (this._part) return callback(this._part);
    if (this._waiting.push(callback) > 1) return;
    this._load(part => {
      this._part = part;
      for (const waiting of this._waiting.splice(0)) waiting(part);
    });
  }
}
