// Copies of records.

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {copy} from '../src/records.js';

test('copy of a record has the attribute __proto__ as an attribute, and no other prototype', () => {
  const record = JSON.parse('{"a":{"__proto__":{"admin":true}},"__proto__":[1],"b":[{"constructor":1}]}');
  const copied = copy(record);
  assert.equal(JSON.stringify(copied), JSON.stringify(record));
  assert.equal(Object.getPrototypeOf(copied), Object.prototype);
  assert.equal(copied.a.admin, undefined);
  assert.notEqual(copied.a, record.a);
});
