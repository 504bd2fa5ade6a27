// A change of a record
// --------------------

export class Change {
  // `verb` is as on the wire. `data` is the new record, or the changed attributes of an update.
  // `previous` is the record before the change: `null` if there was none, undefined if the store
  // still has it.
  constructor(offset, verb, id, data, previous) {
    Object.assign(this, {offset, verb, id, data, previous});
  }

  // The names of the attributes in `data`.
  get names() {
    return Object.keys(this.data ?? {});
  }
}

// The changes of a push, which has arrays: `[offset, verb, id, data]`.
export function changesOfPush(push) {
  return push.map(([offset, verb, id, data]) => new Change(offset, verb, id, data));
}
