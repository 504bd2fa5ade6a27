// Targets that show the same parts of records
// -------------------------------------------

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {start} from '../fakes/page.js';

const DATA = {select: 'title'};
const ROOM = 'todo?select';

// Two lists with the same query, read at 5.
function twoLists() {
  const all = start();
  const [one, other] = [new all.Todos(), new all.Todos()];
  for (const list of [one, other]) {
    list.fetch({data: DATA});
    all.client.read(ROOM, 5, [{id: 1, title: 'Milk'}]);
  }
  return {...all, one, other};
}

test('a fetch of a list brings new and changed records to another list with the same query', () => {
  const {one, other, client} = twoLists();
  one.fetch({data: DATA});
  client.read(ROOM, 7, [{id: 2, title: 'Eggs'}, {id: 1, title: 'Oat milk'}]);
  assert.deepEqual(other.pluck('title'), ['Eggs', 'Oat milk']);
  assert.notEqual(other.get(1), one.get(1));
});

test('so does a fetch of a list that does not become live', () => {
  const {Todos, other, client} = twoLists();
  new Todos().fetch({data: DATA, live: false});
  client.read(ROOM, 7, [{id: 1, title: 'Oat milk'}, {id: 2, title: 'Eggs'}]);
  assert.deepEqual(other.pluck('title'), ['Oat milk', 'Eggs']);
});

test('the list that was fetched keeps what its handlers have edited', () => {
  const {one, client} = twoLists();
  one.fetch({data: DATA, success: () => one.get(1).set('title', 'of the page')});
  client.read(ROOM, 7, [{id: 1, title: 'Oat milk'}]);
  assert.deepEqual(one.pluck('title'), ['of the page']);
});

test('a model that changes what it parses does not change the other list', () => {
  const {Todo, Todos, client} = start();
  const Parsed = Todo.extend({parse: record => Object.assign(record, {title: record.title.toUpperCase()})});
  const lists = [new (Todos.extend({model: Parsed}))(), new Todos()];
  for (const list of [...lists, lists[0]]) {
    list.fetch({data: DATA});
    client.read(ROOM, 5 + (list.length && 2), [{id: 1, title: list.length ? 'Oat milk' : 'Milk'}]);
  }
  assert.deepEqual(lists.map(list => list.pluck('title')), [['OAT MILK'], ['Oat milk']]);
});
