// Random numbers that a seed repeats
// ----------------------------------

// The generator mulberry32.
export class Random {
  constructor(seed) {
    this._state = seed >>> 0;
  }

  // A number from 0 up to 1.
  next() {
    this._state = (this._state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this._state ^ (this._state >>> 15), 1 | this._state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(count) {
    return Math.floor(this.next() * count);
  }

  chance(of) {
    return this.next() < of;
  }

  pick(list) {
    return list[this.below(list.length)];
  }
}
