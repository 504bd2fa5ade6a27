// Changes of records
// ------------------
//
// A change is `{offset, verb, id, data, before}`. `verb` is as on the wire. `data` is the new
// record, or the changed attributes of an update. `before` is the record before the change: `null`
// if there was none, undefined if the store still has it.

// The changes of a push, which has arrays.
export const changesOfPush = push => push.map(([offset, verb, id, data]) => ({offset, verb, id, data})).filter(({id}) => isLiveId(id));

// Whether a record with this id can be live. The texts for the core separate ids by U+0000 and
// U+0001.
export const isLiveId = id => typeof id === 'number' || !/[\0\x01]/.test(id);
