// Fake Web Locks
// --------------

// The locks of one origin. `held` lists the names of those that are held.
export class FakeLocks {
  constructor() {
    this._locks = new Map();
  }

  get held() {
    return [...this._locks].filter(([, {holder}]) => holder).map(([name]) => name);
  }

  request(name, ...rest) {
    const use = rest.pop();
    const {signal, steal} = rest[0] ?? {};
    return new Promise((resolve, reject) => {
      const fail = () => reject(new DOMException('The request was aborted.', 'AbortError'));
      if (signal?.aborted) return fail();
      const lock = this._locks.get(name) ?? {queue: []};
      this._locks.set(name, lock);
      const request = {name, use, resolve, reject, fail};
      if (steal) {
        lock.holder?.fail();
        lock.holder = null;
        lock.queue.unshift(request);
      } else lock.queue.push(request);
      signal?.addEventListener('abort', () => {
        if (!lock.queue.includes(request)) return;
        lock.queue.splice(lock.queue.indexOf(request), 1);
        fail();
      });
      this._grant(lock);
    });
  }

  async _grant(lock) {
    if (lock.holder || !lock.queue.length) return;
    const {name, use, resolve, reject} = lock.holder = lock.queue.shift();
    const {holder} = lock;
    try {
      await null;
      resolve(await use({name}));
    } catch (error) {
      reject(error);
    }
    if (lock.holder !== holder) return;
    lock.holder = null;
    this._grant(lock);
  }
}
