// Parts in files of their own
// ---------------------------
//
// `backwire.js` has what a page needs to send its first requests. What answers, pushes and live collections need
// (`receiver`) is loaded beside it, from the start; what few pages need (`extras`), when it is needed first. The
// ES module has it all in one.

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
