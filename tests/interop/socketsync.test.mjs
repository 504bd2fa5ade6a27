// A page of Sails 0.9 with a sync of its own
// ------------------------------------------
//
// Many pages had this code before there were libraries for it: `Backbone.sync` sends JSON in a
// string, an ack is parsed and given to `success`, and news of a model makes whoever shows it fetch
// again.

import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {describe, test} from 'node:test';
import {io as today} from 'socket.io-client';
import {resource, server} from './client.mjs';
import {Pushes} from './pushes.mjs';

const require = createRequire(import.meta.url);

// The one line that such a page needs: clients since Socket.IO 1.0 no longer bring it.
const clients = {'socket.io-client 4.8': today, 'socket.io-client 2.5': require('socket.io-client-2')};
for (const io of Object.values(clients)) io.JSON = JSON;

const EVENTS = {create: 'post', read: 'get', update: 'put', delete: 'delete'};

// A page: a Backbone of its own whose sync goes over a socket.
async function page(t, io) {
  const socket = io(server, {transports: ['websocket'], forceNew: true});
  t.after(() => socket.disconnect());
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('connect_error', reject));
  delete require.cache[require.resolve('backbone')];
  const Backbone = require('backbone');
  Backbone.sync = (method, model, options) => {
    const url = typeof model.url === 'function' ? model.url() : model.url;
    const request = io.JSON.stringify({url, data: model.attributes});
    socket.emit(EVENTS[method], request, answer => options.success?.(JSON.parse(answer)));
  };
  return {Backbone, socket};
}

const done = deed => new Promise(resolve => deed({success: (model, answer) => resolve(answer)}));

for (const [name, io] of Object.entries(clients)) {
  describe(`with ${name}`, () => {
    test('all of Backbone goes through it, though every model has the same url', async t => {
      const {Backbone} = await page(t, io);
      const url = `/${resource()}/`;
      const Todo = Backbone.Model.extend({url});
      const todo = new Todo({title: 'Milk'});
      await done(options => todo.save(null, options));
      assert.equal(todo.id, 1);
      await done(options => todo.save({title: 'Oats'}, options));
      const same = new Todo({id: 1});
      await done(options => same.fetch(options));
      assert.equal(same.get('title'), 'Oats');
      const todos = new (Backbone.Collection.extend({url, model: Todo}))();
      await done(options => todos.fetch(options));
      assert.deepEqual(todos.pluck('title'), ['Oats']);
      const destroyed = await done(options => todos.first().destroy({wait: true, ...options}));
      assert.equal(destroyed.title, 'Oats');
      assert.equal(todos.length, 0);
    });

    test('news of a model makes those who show it fetch again', async t => {
      const [mine, others] = [await page(t, io), await page(t, io)];
      const name = resource();
      const todos = new (mine.Backbone.Collection.extend({url: `/${name}`}))();
      const refreshed = new Pushes(push => mine.socket.on('message', ({model, verb}) => {
        assert.equal(model, name);
        todos.fetch({success: () => push(verb, todos.pluck('title'))});
      }));
      await done(options => todos.fetch(options));
      const todo = new (others.Backbone.Model.extend({urlRoot: `/${name}`}))({title: 'Milk'});
      await done(options => todo.save(null, options));
      await refreshed.count(1);
      await done(options => todo.save({title: 'Oats'}, options));
      await refreshed.count(2);
      await done(options => todo.destroy(options));
      assert.deepEqual(await refreshed.count(3), [
        ['create', ['Milk']], ['update', ['Oats']], ['destroy', []]
      ]);
    });

    test('a refusal says its status, for a page that asks', async t => {
      const {Backbone} = await page(t, io);
      const missing = new (Backbone.Model.extend({urlRoot: `/${resource()}`}))({id: 9});
      const answer = await done(options => missing.fetch(options));
      assert.deepEqual([answer.status, answer.code], [404, 'E_NOT_FOUND']);
    });
  });
}
