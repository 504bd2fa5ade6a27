// Associations, as sails.io.js 1.2.1 has them
// -------------------------------------------
//
// The server has a user with `pets: {collection: pet, via: owner}` and `teams: {collection: team,
// via: members}`.

import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {test} from 'node:test';
import {overHttp, server} from './client.mjs';
import {Pushes} from './pushes.mjs';

const require = createRequire(import.meta.url);
const io = require('sails.io.js')(require('socket.io-client-2'));
io.sails.autoConnect = false;
io.sails.environment = 'production';

async function connect(t) {
  const socket = io.sails.connect(server, {transports: ['websocket'], multiplex: false});
  t.after(() => socket.disconnect());
  await new Promise((resolve, reject) => socket.on('connect', resolve).on('connect_error', reject));
  return socket;
}

function ask(socket, verb, url, data) {
  return new Promise(resolve => socket[verb](url, data, (body, {statusCode}) => resolve({body, statusCode})));
}

const ids = records => records.map(({id}) => id);

test('a pet finds an owner, moves to another and is heard of', async t => {
  const [client, other] = [await connect(t), await connect(t)];
  const {body: ann} = await ask(client, 'post', '/user', {name: 'Ann'});
  const {body: bob} = await ask(client, 'post', '/user', {name: 'Bob'});
  const pushes = new Pushes(push => client.on('user', push));
  const {body: rex} = await ask(other, 'post', `/user/${ann.id}/pets`, {name: 'Rex'});
  assert.equal(rex.owner, ann.id);
  const {body: moved} = await ask(other, 'put', `/user/${bob.id}/pets/${rex.id}`, {});
  assert.deepEqual(ids(moved.pets), [rex.id]);
  const told = {attribute: 'pets'};
  assert.deepEqual(await pushes.count(3), [
    [{...told, id: ann.id, verb: 'addedTo', addedId: rex.id}],
    [{...told, id: bob.id, verb: 'addedTo', addedId: rex.id}],
    [{...told, id: ann.id, verb: 'removedFrom', removedId: rex.id}]
  ]);
  const {body: [filled]} = await ask(client, 'get', `/pet?populate=owner&id=${rex.id}`, {});
  assert.equal(filled.owner.name, 'Bob');
  const {body: pets} = await ask(client, 'get', `/user/${bob.id}/pets`, {where: {name: {contains: 'e'}}});
  assert.deepEqual(ids(pets), [rex.id]);
  assert.equal((await ask(client, 'get', `/user/${ann.id}/pets/${rex.id}`, {})).statusCode, 404);
});

test('a list of ids replaces a collection, and both sides of a many-to-many hear', async t => {
  const [client, other] = [await connect(t), await connect(t)];
  const {body: cy} = await ask(client, 'post', '/user', {name: 'Cy'});
  const {body: team} = await ask(client, 'post', '/team', {name: 'Blue'});
  const [users, teams] = ['user', 'team'].map(name => new Pushes(push => client.on(name, push)));
  const {body: joined} = await ask(other, 'put', `/user/${cy.id}/teams`, [team.id]);
  assert.deepEqual(ids(joined.teams), [team.id]);
  await overHttp('DELETE', `/team/${team.id}/members/${cy.id}`);
  assert.deepEqual(await users.count(2), [
    [{id: cy.id, verb: 'addedTo', attribute: 'teams', addedId: team.id}],
    [{id: cy.id, verb: 'removedFrom', attribute: 'teams', removedId: team.id}]
  ]);
  assert.deepEqual((await teams.count(2)).map(([{verb, attribute}]) => [verb, attribute]), [
    ['addedTo', 'members'],
    ['removedFrom', 'members']
  ]);
});
