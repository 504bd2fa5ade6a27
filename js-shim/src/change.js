// Changes of records
// ------------------

// `verb` is as on the wire. `data` is the new record, or the changed attributes of an update.
// `previous` is the record before the change: `null` if there was none, undefined if the store
// still has it.
export const makeChange = (offset, verb, id, data, previous) => ({offset, verb, id, data, previous});

// The changes of a push, which has arrays: `[offset, verb, id, data]`.
export const changesOfPush = push => push.map(([offset, verb, id, data]) => makeChange(offset, verb, id, data));
