// What differs from Sails, and why
// --------------------------------
//
// `is(step, found, sails, backwire)` tells whether a difference is of this kind. The page
// docs/how-to/move-from-sails.md has each of them for users.

export const differences = [
];
