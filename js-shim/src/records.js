// What the server said
// --------------------
//
// The records of one resource as they came, before any `parse`, each with the offset of the log at
// which it was known. A push carries only what changed: with the rest from here, a `parse` that needs
// the whole record works on pushes as well.
//
// Invariant: what is in here is handed out to the page only as a copy.

export class Records {
  constructor() {
    this._epoch = null;
    this._known = new Map();
  }

  // Another epoch is another log, and its offsets say nothing of the former's.
  enter(epoch) {
    if (this._epoch !== null && this._epoch !== epoch) {
      for (const known of this._known.values()) known.offset = 0;
    }
    this._epoch = epoch;
  }

  get(id) {
    return this._known.get(String(id))?.record;
  }

  // `record` is undefined if it is destroyed: older news from another room must not bring it back.
  put(id, record, offset) {
    this._known.set(String(id), {record, offset});
  }

  // Whether a state of the record is known that is newer than this offset. A record never goes back
  // to an earlier state.
  isNewer(id, offset) {
    return this._known.get(String(id))?.offset > offset;
  }

  // Ids of the records that are not among these.
  others(ids) {
    const named = new Set(ids);
    return [...this._known.keys()].filter(id => !named.has(id) && this.get(id));
  }

  // Forgets all but these.
  keep(ids) {
    for (const id of this._known.keys()) if (!ids.has(id)) this._known.delete(id);
  }
}

// A deep copy of JSON data; what is no data, as a `Date`, stays what it is.
export function copy(value) {
  if (Array.isArray(value)) return value.map(copy);
  if (!isPlain(value)) return value;
  const result = {};
  for (const key of Object.keys(value)) result[key] = copy(value[key]);
  return result;
}

// Have two results of `parse` the same content? Dates and nested models are compared by their JSON;
// what has none, as a `Set`, counts as changed, and Backbone looks again.
export function isSame(a, b) {
  return a === b || isData(a) && isData(b) && JSON.stringify(a) === JSON.stringify(b);
}

export function isPlain(value) {
  return Object.prototype.toString.call(value) === '[object Object]' &&
    [Object.prototype, null].includes(Object.getPrototypeOf(value));
}

function isData(value) {
  return Object(value) !== value || Array.isArray(value) || isPlain(value) || typeof value.toJSON === 'function';
}
