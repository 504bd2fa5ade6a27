// Same behavior as jQuery
// -----------------------
//
// Each story is played twice with the real Backbone: over the real jQuery and a fake
// XMLHttpRequest, and over Backwire and a fake client. The app must see the same.

import assert from 'node:assert/strict';
import {mock, test} from 'node:test';

import {realJquery} from '../fakes/jquery.js';
import {freshBackbone, start} from '../fakes/page.js';

// `play(stage)` gets `{Todo, Todos, Backbone, answer, note, watch}`.
function stage(Backbone, answer) {
  const seen = [];
  const note = (name, ...args) => seen.push([name, ...args.map(brief)]);
  const brief = value => {
    if (value instanceof Backbone.Model) return `model ${JSON.stringify(value)}`;
    if (value instanceof Backbone.Collection) return `collection ${JSON.stringify(value)}`;
    if (value && value.getResponseHeader) {
      const {readyState, status, statusText, responseText, responseJSON} = value;
      return {state: value.state(), readyState, status, statusText, responseText, responseJSON};
    }
    return value && ('parse' in Object(value) || 'changes' in Object(value)) ? 'options' : value;
  };
  const Todo = Backbone.Model.extend({urlRoot: '/todo', validate: attrs => attrs.title === '' && 'no title'});
  const Todos = Backbone.Collection.extend({url: '/todo', model: Todo});
  return {
    Backbone, Todo, Todos, answer, note, seen,
    // Notes all events and callbacks, and returns options with those callbacks.
    watch(object, options) {
      object.on('all', (name, ...args) => note(name, ...args.slice(0, 2)));
      return {
        success: (...args) => note('success', ...args.slice(0, 2)),
        error: (...args) => note('error callback', ...args.slice(0, 2)),
        complete: (...args) => note('complete', ...args),
        ...options
      };
    },
    // Notes the callbacks of the returned object.
    follow(xhr) {
      xhr.done((...args) => note('done', ...args)).fail((failed, status) => note('fail', failed, status));
      xhr.always(() => note('always', xhr));
      note('returned', xhr);
      return xhr;
    }
  };
}

async function overJquery(play) {
  const {$, requests} = realJquery();
  const Backbone = freshBackbone($);
  const all = stage(Backbone, (status, body, index = requests.length - 1) => requests[index].answer(status, body));
  await play(all);
  return {seen: all.seen, sent: requests.map(({method, url, body}) => [method, pathOf(url), body])};
}

async function overBackwire(play, $) {
  const {Backbone, client} = start({$});
  const all = stage(Backbone, (status, body, index = client.requests.length - 1) =>
    client.answer(status, body, {}, client.requests[index]));
  await play(all);
  return {seen: all.seen, sent: client.requests.map(({method, url, body}) => [method.toUpperCase(), url, body])};
}

// In the form in which a browser sends it.
function pathOf(url) {
  const {pathname, search} = new URL(url, 'http://app.test/notes/index.html');
  return pathname + search;
}

const stories = {
  'a create that succeeds'({Todo, watch, follow, answer}) {
    const todo = new Todo();
    follow(todo.save({title: 'Milk'}, watch(todo)));
    answer(201, {id: 1, title: 'Milk'});
  },
  'an update that fails'({Todo, watch, follow, answer}) {
    const todo = new Todo({id: 7, title: 'Milk'});
    follow(todo.save({title: 'Eggs'}, watch(todo)));
    answer(422, {code: 'E_NO', message: 'no eggs today'});
  },
  'a save that waits'({Todo, watch, follow, answer, note}) {
    const todo = new Todo({id: 7, title: 'Milk'});
    follow(todo.save({title: 'Eggs'}, watch(todo, {wait: true})));
    note('meanwhile', todo);
    answer(200, {id: 7, title: 'Eggs', updatedAt: 3});
    note('afterwards', todo);
  },
  'a patch'({Todo, watch, follow, answer}) {
    const todo = new Todo({id: 7, title: 'Milk', done: false});
    follow(todo.save({done: true}, watch(todo, {patch: true})));
    answer(200, {id: 7, title: 'Milk', done: true});
  },
  'a destroy inside a collection'({Todos, watch, follow, answer}) {
    const todos = new Todos([{id: 7, title: 'Milk'}]);
    delete todos.model.prototype.urlRoot;
    follow(todos.get(7).destroy(watch(todos)));
    answer(200, {id: 7, title: 'Milk'});
  },
  'a destroy that is answered with nothing'({Todo, watch, follow, answer}) {
    const todo = new Todo({id: 7});
    follow(todo.destroy(watch(todo, {wait: true})));
    answer(204);
  },
  'a destroy of what was never saved'({Todo, watch, note}) {
    const todo = new Todo({title: 'Milk'});
    note('returned', todo.destroy(watch(todo)));
  },
  'a fetch with a query'({Todos, watch, follow, answer}) {
    const todos = new Todos();
    follow(todos.fetch(watch(todos, {data: {filter: {done: true, tags: ['a b', 2]}, q: 'ä&b', none: null}})));
    answer(200, [{id: 1}, {id: 2}]);
  },
  'a fetch that resets and parses'({Todos, watch, follow, answer}) {
    const todos = new (Todos.extend({url: 'sub/todo?x=1#top', parse: list => list.slice(1)}))([{id: 9}]);
    follow(todos.fetch(watch(todos, {reset: true, data: 'y=2'})));
    answer(200, [{id: 1}, {id: 2}]);
  },
  'a create in a collection that waits, and is refused'({Todos, watch, answer}) {
    const todos = new Todos();
    todos.create({title: 'Milk'}, watch(todos, {wait: true}));
    answer(500, {message: 'the disk is full'});
  },
  'a create in a collection that waits, and is accepted'({Todos, watch, answer}) {
    const todos = new Todos();
    todos.create({title: 'Milk'}, watch(todos, {wait: true}));
    answer(201, {id: 1, title: 'Milk'});
  },
  'a save that is not valid'({Todo, watch, note}) {
    const todo = new Todo();
    note('returned', todo.save({title: ''}, watch(todo)));
  },
  'an abort'({Todo, watch, follow, note}) {
    const todo = new Todo({id: 7});
    const xhr = follow(todo.fetch(watch(todo)));
    note('aborted', xhr.abort() === xhr);
    xhr.abort();
  },
  'an abort after the reply'({Todo, watch, follow, answer}) {
    const todo = new Todo({id: 7});
    const xhr = follow(todo.fetch(watch(todo)));
    answer(200, {id: 7});
    xhr.abort();
  },
  'a beforeSend that refuses'({Todo, watch, follow}) {
    const todo = new Todo({id: 7});
    follow(todo.fetch(watch(todo, {beforeSend: () => false})));
  },
  'a beforeSend that aborts'({Todo, watch, follow}) {
    const todo = new Todo({id: 7});
    follow(todo.fetch(watch(todo, {beforeSend: xhr => { xhr.abort(); }})));
  },
  'a beforeSend that changes the settings'({Todo, watch, answer}) {
    const todo = new Todo({id: 7});
    todo.fetch(watch(todo, {beforeSend: (xhr, settings) => { settings.url += '?token=1'; }}));
    answer(200, {id: 7});
  },
  'contexts and status codes'({Todo, watch, answer, note}) {
    const todo = new Todo({id: 7});
    const context = {name: 'context'};
    todo.fetch(watch(todo, {
      context,
      beforeSend() { note('beforeSend', this.name); },
      error() { note('error callback', this.name); },
      complete() { note('complete', this.name); },
      statusCode: {404(xhr, status) { note('404', this.name, xhr, status); }, 200() { note('200'); }}
    })).statusCode({404() { note('404 again', this.name); }});
    answer(404, {message: 'no such todo'});
  },
  'lists of callbacks'({Backbone, Todo, answer, note}) {
    const todo = new Todo({id: 7});
    const complete = [() => note('complete 1'), () => note('complete 2')];
    const xhr = Backbone.sync('read', todo, {success: [() => note('a'), () => note('b')], complete});
    xhr.done([() => note('c'), () => note('d')], () => note('e'));
    answer(200, {id: 7});
  },
  'callbacks added by callbacks'({Todo, answer, note}) {
    const xhr = new Todo({id: 7}).fetch({success: () => xhr.done(() => note('inner')) && note('outer')});
    xhr.done(() => note('second'));
    answer(200, {id: 7});
    xhr.done(() => note('late')).always(() => note('later')).fail(() => note('never'));
    note('end');
  },
  async 'promises'({Todo, answer, note}) {
    const good = new Todo({id: 7}).fetch();
    answer(200, {id: 7});
    note('awaited', await good);
    await good.then((data, status, xhr) => note('then', data, status, xhr === good));
    note('chained', await good.then(data => data.id).then(id => id + 1));
    const bad = new Todo({id: 8}).fetch();
    const caught = bad.catch((xhr, status) => note('caught', xhr === bad, status));
    const both = bad.then(() => note('never'), xhr => note('rejected', xhr === bad));
    answer(404, {message: 'no'});
    note('settled');
    await caught;
    await both;
    note('thrown', await bad.then(() => 1).catch(reason => reason === bad));
  },
  'a nested request in the request event'({Todo, Todos, watch, answer, note}) {
    const todo = new Todo({id: 7});
    const others = new Todos();
    todo.once('request', () => note('inner', others.fetch().state()));
    todo.fetch(watch(todo));
    answer(200, {id: 7}, 0);
    answer(200, [{id: 1}], 1);
    note('others', others);
  },
  'a success without success'({Todo, watch, answer}) {
    const todo = new Todo({id: 7});
    todo.save(null, watch(todo, {success: null, error: undefined}));
    answer(200, {});
  },
  'another type'({Todo, answer}) {
    new Todo({id: 7}).save({title: 'Milk'}, {type: 'POST', url: '/todo/7/done'});
    answer(200, {});
  },
  'data of the app'({Todo, answer}) {
    new Todo({id: 7}).save(null, {data: JSON.stringify({a: 1}), contentType: 'application/json'});
    answer(200, {});
  }
};

for (const [name, play] of Object.entries(stories)) {
  test(`${name} is the same over jQuery and over Backwire`, async () => {
    const expected = await overJquery(play);
    assert.deepEqual(await overBackwire(play), expected);
    assert.deepEqual(await overBackwire(play, realJquery().$), expected);
    assert.ok(expected.seen.length + expected.sent.length);
  });
}

test('a timeout ends as with jQuery', async context => {
  mock.timers.enable({apis: ['setTimeout']});
  context.after(() => mock.timers.reset());
  const play = time => ({Todo, watch, follow}) => {
    const todo = new Todo({id: 7});
    follow(todo.fetch(watch(todo, {timeout: 500})));
    time();
  };
  const time = () => mock.timers.tick(500);
  const expected = await overJquery(play(time));
  for (const $ of [undefined, realJquery().$]) {
    const {Backbone, client} = start({$});
    const all = stage(Backbone);
    play(time)(all);
    assert.deepEqual(all.seen, expected.seen);
    assert.deepEqual(client.calls.at(-1), 'abort 1');
    client.answer(200, {id: 7, title: 'too late'});
    assert.deepEqual(all.seen, expected.seen);
  }
});

test('$.when waits for the result of fetch', () => {
  const {$} = realJquery();
  const {Todo, client} = start({$});
  let outcome;
  $.when(new Todo({id: 1}).fetch(), 2).done((first, second) => { outcome = [first[0], first[1], second]; });
  client.answer(200, {id: 1});
  assert.deepEqual(outcome, [{id: 1}, 'success', 2]);
});
