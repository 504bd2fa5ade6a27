// Records of a resource
// ---------------------
//
// The records of one resource as the server sent them, before any `parse`, each with its offset in
// the log. A push carries only the changed attributes. The others come from here, so a `parse` that
// needs the whole record works on pushes as well.
//
// Invariant: the page gets only copies of these records.

export class Records {
  constructor() {
    this._epoch = null;
    this._known = new Map();
  }

  // The log of another epoch may lack changes that the page knows. Then its offsets cannot be
  // compared with theirs.
  enter({epoch, offset, key}) {
    this.key = key;
    if (this._epoch !== epoch) {
      for (const known of this._known.values()) if (known.offset > offset) known.offset = 0;
      this._known.delete('');
    }
    this._epoch = epoch;
  }

  get(id) {
    return this.entry(id)?.record;
  }

  // `{record, offset}`, if the record is known or was destroyed.
  entry(id) {
    return this._known.get(String(id));
  }

  // `record` is undefined if it is destroyed. An older change from another room must not restore
  // it.
  put(id, record, offset) {
    this._known.set(String(id), {record, offset});
  }

  // Whether a state of the record is known that is newer than this offset. A record never goes back
  // to an earlier state.
  isNewer(id, offset) {
    return (this.entry(id) ?? this.entry(''))?.offset > offset;
  }

  // The ids of the records that are not in `ids`, which a read of the whole resource has returned.
  // Unknown records did not exist at its offset, which the entry of '' has.
  others(ids, offset) {
    this.put('', undefined, offset);
    const named = new Set(ids);
    return [...this._known.keys()].filter(id => !named.has(id) && this.get(id));
  }

  // Forgets all records but these.
  keep(ids) {
    for (const id of this._known.keys()) if (!ids.has(id)) this._known.delete(id);
  }
}

// A deep copy of JSON data. Other values, such as a `Date`, are not copied.
export function copy(value) {
  if (Array.isArray(value)) return value.map(copy);
  if (!isPlain(value)) return value;
  // With `__proto__` among its own keys: an assignment to another's would replace the prototype.
  const result = {...value};
  for (const key of Object.keys(result)) if (typeof result[key] === 'object') result[key] = copy(result[key]);
  return result;
}

// Whether two results of `parse` have the same content. Dates and nested models are compared by
// their JSON. Values without JSON, such as a `Set`, count as changed, and Backbone compares them
// itself.
export function isSame(a, b) {
  return a === b || isData(a) && isData(b) && JSON.stringify(a) === JSON.stringify(b);
}

// The state of a value, to be compared later by ===, also if the page changes the value meanwhile.
export function stateOf(value) {
  return Object(value) === value && isData(value) ? '\0' + JSON.stringify(value) : value;
}

export function isPlain(value) {
  return Object.prototype.toString.call(value) === '[object Object]' &&
    [Object.prototype, null].includes(Object.getPrototypeOf(value));
}

function isData(value) {
  return Object(value) !== value || Array.isArray(value) || isPlain(value) || typeof value.toJSON === 'function';
}
