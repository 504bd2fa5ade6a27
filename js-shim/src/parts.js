// Parts in files of their own
// ---------------------------
//
// `backwire.js` sends the first requests of a page. It loads two more files: from the start the
// `receiver`, for answers, pushes and live collections; on demand the `extras`, which few pages
// need. The ES module contains everything.

export class Part {
  // `load(callback)` loads the part and calls back with it, or with null if it cannot be loaded.
  constructor(load) {
    this._load = load;
    this._waiting = [];
  }

  // Calls back with the part, at once if it is loaded.
  use(callback) {
    if (this._part) return callback(this._part);
    if (this._waiting.push(callback) > 1) return;
    this._load(part => {
      this._part = part;
      for (const waiting of this._waiting.splice(0)) waiting(part);
    });
  }
}
