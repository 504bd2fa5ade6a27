// Writes that a reload must not lose
// ----------------------------------
//
// What cannot be sent now is kept in `localStorage` until it is answered, each write an item of its own,
// named after the server, the person and when it was made: so they come back in order, and only to who
// made them. Another page of the same origin finds them too. That both send them does no harm, because
// they keep their keys.

export class Kept {
  // `storage` is undefined where the browser forbids it; then, or when it is full, writes stay where they
  // are, in memory, and `onFull(error)` is told once.
  constructor(storage, server, identity, onFull) {
    this.storage = storage;
    this.prefix = `backwire ${server} ${encodeURIComponent(identity)} `;
    this._onFull = onFull;
    // The names of the items by their keys.
    this.names = new Map();
    this._made = 0;
  }

  // The names of what an earlier page has kept, in order (see `waited.js`).
  get itemNames() {
    return Object.keys(this.storage ?? {}).filter(name => name.startsWith(this.prefix)).sort();
  }

  // `record` is the whole record with what the write does to it, for the next page to show; `next` is
  // what waits for a create (see `PendingCreate`), and the only thing that changes. Credentials are not kept: what
  // is sent later says who is asking in its own way.
  keep({key, kind, method, url, headers: {authorization, ...headers} = {}, body, record, next}) {
    if (this.names.has(key) && next == null) return;
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
    if (!name) return;
    this.names.delete(key);
    this.storage.removeItem(name);
  }
}

// Even to ask for it is an error where it is forbidden.
export function storageOf(page) {
  try {
    return page.localStorage;
  } catch {
    return undefined;
  }
}
