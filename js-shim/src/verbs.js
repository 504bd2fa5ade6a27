// The verbs of a change on the wire
// ---------------------------------

export const CREATED = 1;
export const UPDATED = 2;
export const DESTROYED = 3;
