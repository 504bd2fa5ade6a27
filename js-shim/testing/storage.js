// A storage in memory
// -------------------

// It has what the runtime uses of `localStorage`: `Object.keys` are the names of its items.
export function makeStorage() {
  const storage = Object.create({
    getItem: name => (Object.hasOwn(storage, name) ? storage[name] : null),
    setItem(name, text) { storage[name] = String(text); },
    removeItem(name) { delete storage[name]; }
  });
  return storage;
}
