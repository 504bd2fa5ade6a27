// Writes that a reload must not lose
// ----------------------------------
//
// Writes that cannot be sent now are kept in `localStorage` until they are answered. Each write is
// an item, named after the server, the identity and the time. So a page restores them in order, and
// only for the identity that made them. Another page of the same origin finds them too. So a page
// holds a Web Lock named after its session while it has kept writes, and a page restores only the
// writes of sessions whose lock it gets. Without Web Locks (plain http) both may send a write, and
// its idempotency key makes that harmless.

export class Kept {
  // `storage` is undefined where the browser forbids it. If it is forbidden or full, writes stay in
  // memory only, and `onFull(error)` is called once. `locks` is undefined where there are none.
  constructor(storage, locks, [server, identity, session], onFull) {
    Object.assign(this, {storage, locks, session});
    this.prefix = `backwire ${server} ${encodeURIComponent(identity)} `;
    this._onFull = onFull;
    // Functions that release the locks of this page.
    this._releases = [];
    // Item names by idempotency key.
    this.names = new Map();
    // The kept `next` by idempotency key.
    this._next = {};
    this._made = 0;
  }

  // The names of the items of earlier pages, in order (see `kept-writes.js`).
  get itemNames() {
    return Object.keys(this.storage ?? {}).filter(name => name.startsWith(this.prefix)).sort();
  }

  // `record` is the whole record after the write, for the next page to show. `next` is the save
  // that waits for a create (see `PendingCreate`); nothing else may change in a kept write.
  // Credentials are not kept: the next page sends its own.
  keep({key, kind, method, url, headers: {authorization, ...headers} = {}, body, record, next}) {
    if (this._isFrozen || this.names.has(key) && next === this._next[key]) return;
    this._next[key] = next;
    const count = String(this._made++).padStart(6, '0');
    const name = this.names.get(key) ?? `${this.prefix}${Date.now()}-${count}`;
    const rest = Object.keys(headers).length ? {headers} : {};
    try {
      this.storage.setItem(name, JSON.stringify({key, kind, method, url, ...rest, body, record, next, owner: this.session}));
      this.names.set(key, name);
      if (!this._isLocked) this.lock(this.session);
      this._isLocked = true;
    } catch (error) {
      this._onFull?.(error);
      this._onFull = null;
    }
  }

  forget(key) {
    const name = this.names.get(key);
    if (!name || this._isFrozen) return;
    this.names.delete(key);
    this.storage.removeItem(name);
    if (!this.names.size) this._release();
  }

  // From now on the kept writes stay as they are.
  freeze() {
    this._isFrozen = true;
    this._release();
  }

  // Gets the lock of a session, calls `use`, and holds the lock until this page has no kept writes.
  lock(session, use = () => {}) {
    return this.locks?.request(`backwire ${session}`, async () => {
      if (this._isFrozen) return;
      await use();
      if (this.names.size) await new Promise(release => this._releases.push(release));
    });
  }

  _release() {
    this._isLocked = false;
    for (const release of this._releases.splice(0)) release();
  }
}

// The browser may throw when the property is read.
export function storageOf(page) {
  try {
    return page.localStorage;
  } catch {
    return undefined;
  }
}
