// Records and their copies
// ----------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {created, updated} from '../fakes/client.js';
import {startWithTodos} from '../fakes/page.js';
import {copy} from '../src/records.js';

test('copy of a record has the attribute __proto__ as an attribute, and no other prototype', () => {
  const record = JSON.parse('{"a":{"__proto__":{"admin":true}},"__proto__":[1],"b":[{"constructor":1}]}');
  const copied = copy(record);
  assert.equal(JSON.stringify(copied), JSON.stringify(record));
  assert.equal(Object.getPrototypeOf(copied), Object.prototype);
  assert.equal(copied.a.admin, undefined);
  assert.notEqual(copied.a, record.a);
});

test('a pushed record whose id has control characters changes no other record', () => {
  const {client, todos} = startWithTodos();
  client.push('todo', created(6, {id: 'x\u0001\u000132', title: 'Bread'}), updated(7, 1, {title: 'Oat milk'}));
  assert.deepEqual(todos.pluck('title'), ['Oat milk', 'Eggs']);
});

test('a record that is read and whose id has control characters removes no records of other lists', () => {
  const {Todos, client, todos} = startWithTodos();
  const other = new Todos();
  other.fetch();
  client.read('todo', 6, [{id: 'x\u0001y'}, {id: 'x\u0000y'}, {id: 1, title: 'Milk'}, {id: 3, title: 'Bread'}]);
  assert.deepEqual(other.length, 4);
  assert.deepEqual(todos.pluck('title'), ['Milk', 'Bread']);
});
