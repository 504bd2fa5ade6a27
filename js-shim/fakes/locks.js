// Fake Web Locks
// --------------

// The locks of one origin. `held` lists the names of those that are held.
export class FakeLocks {
  constructor() {
    this._last = new Map();
  }

  get held() {
    return [...this._last.keys()];
  }

  async request(name, use) {
    const before = this._last.get(name);
    const turn = (async () => {
      await before;
      return use({name});
    })();
    const end = turn.catch(() => {});
    this._last.set(name, end);
    await end;
    if (this._last.get(name) === end) this._last.delete(name);
    return turn;
  }
}
