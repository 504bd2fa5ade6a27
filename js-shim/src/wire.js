// The constants of the wire
// -------------------------
//
// `cargo xtask build` writes this file. Its values are those of `protocol/src/wire.rs`
// and `protocol/src/wire/`.

// The verbs of a change.
export const CREATED = 1;
export const UPDATED = 2;
export const DESTROYED = 3;
export const LEFT = 4;

// The names of events.
export const PUSH = 'push';
export const RESUME = 'resume';
export const UNSUBSCRIBE = 'unsubscribe';
export const DELIVERED = 'delivered';
export const EXPIRES = 'backwire:expires';

// The names of headers, in lower case. `TRANSPORT_HTTP` is the only value of `TRANSPORT`.
export const IDEMPOTENCY_KEY = 'idempotency-key';
export const POSITION = 'backwire-position';
export const ROOM = 'backwire-room';
export const RECORD = 'backwire-record';
export const QUERY = 'backwire-query';
export const TRANSPORT = 'backwire-transport';
export const TRANSPORT_HTTP = 'http';

// The names of properties in the header `QUERY`.
export const QUERY_KEY = 'key';
export const QUERY_SELECT = 'select';
export const QUERY_OMIT = 'omit';
export const QUERY_POPULATE = 'populate';
export const QUERY_UNDECLARED = 'undeclared';

// The version of the protocol, and how long the ledger remembers a write, in milliseconds.
export const VERSION = 1;
export const LEDGER_RETENTION = 604800000;
