// Writes that a reload must not lose
// ----------------------------------
//
// Writes that cannot be sent now are kept in `localStorage` until they are answered. Each write is
// an item, named after the server, the identity and the time. So a page restores them in order, and
// only for the identity that made them. Another page of the same origin finds them too. If both
// send a write, its idempotency key makes that harmless.

export class Kept {
  // `storage` is undefined where the browser forbids it. If it is forbidden or full, writes stay in
  // memory only, and `onFull(error)` is called once.
  constructor(storage, server, identity, onFull) {
    this.storage = storage;
    this.prefix = `backwire ${server} ${encodeURIComponent(identity)} `;
    this._onFull = onFull;
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
      this.storage.setItem(name, JSON.stringify({key, kind, method, url, ...rest, body, record, next}));
      this.names.set(key, name);
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
  }

  // From now on the kept writes stay as they are.
  freeze() {
    this._isFrozen = true;
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
