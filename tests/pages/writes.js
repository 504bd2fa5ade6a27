// A write is never merged with another, dropped, or left without its own response.

const Note = Backbone.Model.extend({urlRoot: '/note'});
const Notes = Backbone.Collection.extend({url: '/note', model: Note});
const records = path => http('GET', path);
const numbers = async path => (await records(path)).map(it => it.n);
const synced = (method, model, options) => done(it => model.sync(method, model, {...options, ...it}));

const OWNED = `production:
  resources:
    user: {attributes: {pets: {collection: pet, via: owner}}}
    pet: {attributes: {owner: {model: user}}}
`;

async function goOffline() {
  Backwire.disconnect();
  await offline();
}

// The kinds of write
// ------------------

story('posts_of_an_existing_model_to_another_url_are_all_done', {config: OWNED}, async () => {
  await http('POST', '/user', {name: 'Ann'});
  const ann = new (Backbone.Model.extend({urlRoot: '/user'}))({id: 1});
  await fetched(ann);
  const add = name => synced('create', ann, {url: '/user/1/pets', attrs: {name}});
  same(await Promise.all(['Rex', 'Tom'].map(add)), ['success', 'success']);
  await goOffline();
  const later = ['Kit', 'Pip'].map(add);
  Backwire.connect();
  same(await Promise.all(later), ['success', 'success']);
  same((await records('/pet')).map(it => [it.name, it.owner.id ?? it.owner]), [['Rex', 1], ['Tom', 1], ['Kit', 1], ['Pip', 1]]);
});

story('an_action_on_a_model_leaves_its_own_writes_alone', async () => {
  const note = new Note();
  await saved(note, {n: 1});
  await goOffline();
  const results = [
    saved(note, {n: 2}),
    synced('create', note, {url: '/log', attrs: {n: 'first'}}),
    saved(note, {n: 3}),
    synced('create', note, {url: '/log', attrs: {n: 'second'}})
  ];
  Backwire.connect();
  same(await Promise.all(results), Array(4).fill('success'));
  same([await numbers('/note'), await numbers('/log')], [[3], ['first', 'second']]);
});

story('a_destroy_does_not_withdraw_actions_of_its_model', async () => {
  const note = new Note();
  await saved(note, {n: 1});
  await goOffline();
  const results = [synced('create', note, {url: '/log', attrs: {n: 'seen'}}), done(it => note.destroy(it))];
  Backwire.connect();
  same(await Promise.all(results), ['success', 'success']);
  same([await numbers('/note'), await numbers('/log')], [[], ['seen']]);
});

story('an_action_of_a_new_model_is_not_its_create', async () => {
  const note = new Note({n: 1});
  await goOffline();
  const results = [synced('create', note, {url: '/log', attrs: {n: 'draft'}}), saved(note, {n: 2})];
  Backwire.connect();
  same(await Promise.all(results), ['success', 'success']);
  same([await numbers('/note'), await numbers('/log'), note.id], [[2], ['draft'], 1]);
});

story('a_refused_action_does_not_destroy_its_model', {config: 'production: {resources: {log: {attributes: {n: {type: number, required: true}}}}}\n'},
  async () => {
    const note = new Note();
    await saved(note, {n: 1});
    const notes = new Notes([note]), events = traced(notes, 'destroy remove');
    await goOffline();
    const refused = synced('create', note, {url: '/log', attrs: {m: 1}});
    Backwire.connect();
    same(await refused, 'error 400');
    await settled();
    same([note.get('n'), notes.length, events], [1, 1, []]);
  });

story('a_save_with_an_url_of_its_own_goes_there', async () => {
  const note = new Note();
  await saved(note, {n: 1});
  await http('POST', '/copy', {n: 0});
  same(await saved(note, {n: 2}, {url: '/copy/1', patch: true}), 'success');
  same([await numbers('/note'), await numbers('/copy')], [[1], [2]]);
});

story('lists_saved_offline_are_sent_as_they_are_each', {tag: 'data-connect="false"'}, async () => {
  const rows = new (Backbone.Collection.extend({url: '/row'}))([{n: 1}, {n: 2}]);
  const first = synced('create', rows);
  rows.reset([{n: 3}]);
  const second = synced('create', rows);
  Backwire.connect();
  same(await Promise.all([first, second]), ['success', 'success']);
  same(await numbers('/row'), [1, 2, 3]);
});

story('a_list_saved_online_makes_its_records', async () => {
  const rows = new (Backbone.Collection.extend({url: '/row'}))([{n: 1}, {n: 2}]);
  same(await synced('create', rows), 'success');
  same(await numbers('/row'), [1, 2]);
});

story('patches_made_offline_are_all_applied', async () => {
  const note = new Note();
  await saved(note, {n: 1, title: 'a'});
  await goOffline();
  const results = [
    saved(note, {title: 'b'}, {patch: true}), saved(note, {n: 2}, {patch: true}), saved(note, {done: true}, {patch: true})
  ];
  Backwire.connect();
  same(await Promise.all(results), ['success', 'success', 'success']);
  const [{n, title, done: isDone}] = await records('/note');
  same([n, title, isDone], [2, 'b', true]);
});

story('saves_while_a_create_is_on_its_way_reach_the_record', async () => {
  const note = new Note({n: 1});
  await line.deafen();
  const results = [saved(note), saved(note, {title: 'b'}), saved(note, {title: 'c'})];
  await line.mend();
  same(await Promise.all(results), ['success', 'success', 'success']);
  same((await records('/note')).map(it => [it.n, it.title]), [[1, 'c']]);
});

story('a_save_in_the_success_callback_of_a_save_is_sent_whole', async () => {
  const notes = new Notes();
  await http('POST', '/note', {n: 77});
  await fetched(notes);
  const note = notes.at(0);
  const result = await new Promise(resolve => {
    note.save({n: 1}, {success: () => note.save({n: 77}, {success: () => resolve(note.get('n'))})});
  });
  same([result, await numbers('/note')], [77, [77]]);
  const patched = await new Promise(resolve => {
    note.save({n: 2}, {patch: true, success: () => note.save({n: 77}, {success: () => resolve(note.get('n'))})});
  });
  same([patched, await numbers('/note')], [77, [77]]);
  note.once('sync', () => note.save({n: 77}));
  note.save({n: 3});
  await becomes(() => notes.pluck('n'), [77]);
  same(await numbers('/note'), [77]);
});

story('a_save_in_the_success_callback_of_a_create_is_sent_whole', async () => {
  const notes = new Notes();
  await fetched(notes);
  const note = await new Promise(resolve => {
    notes.create({n: 1}, {success: model => model.save({n: 2}, {success: () => resolve(model)})});
  });
  await saved(note, {n: 1});
  same(await numbers('/note'), [1]);
});

story('the_url_after_a_create_is_what_the_model_says', async () => {
  const Elsewhere = Backbone.Model.extend({url() { return this.isNew() ? '/item' : `/item/${this.id}`; }});
  const model = new Elsewhere({n: 1});
  await goOffline();
  const results = [saved(model), saved(model, {n: 2})];
  Backwire.connect();
  await Promise.all(results);
  same(await saved(model, {n: 3}), 'success');
  same(await numbers('/item'), [3]);
});

story('a_constant_url_works_for_every_kind_of_write', async () => {
  const Constant = Backbone.Model.extend({url: '/note'});
  const note = new Constant();
  same(await saved(note, {n: 1}), 'success');
  same(await saved(note, {n: 2}), 'success');
  same(await saved(note, {n: 3}, {patch: true}), 'success');
  same(await numbers('/note'), [3]);
  same(await done(it => note.destroy(it)), 'success');
  same(await numbers('/note'), []);
});

story('a_write_with_a_query_is_done', async () => {
  const Forced = Backbone.Model.extend({url() { return (this.isNew() ? '/note' : `/note/${this.id}`) + '?force=true&_csrf=abc'; }});
  const note = new Forced();
  same(await saved(note, {n: 1}), 'success');
  same(await saved(note, {n: 2}), 'success');
  same(await numbers('/note'), [2]);
});

// Answers
// -------

const SMALL = {args: ['--body-limit', '2000']};

story('a_write_over_the_body_limit_calls_error_with_413', SMALL, async () => {
  const note = new Note();
  await saved(note, {n: 1});
  const before = Backwire.status.unsent;
  same(await saved(note, {text: 'x'.repeat(3000)}), 'error 413');
  same(await saved(new Note(), {text: 'x'.repeat(3000)}), 'error 413');
  same(Backwire.status.unsent, before);
  same(await saved(note, {n: 2, text: ''}), 'success');
});

story('a_write_over_the_body_limit_made_offline_calls_error_with_413', SMALL, async () => {
  const notes = new Notes();
  await fetched(notes);
  await goOffline();
  const result = done(it => notes.create({text: 'x'.repeat(3000)}, it)), small = done(it => notes.create({n: 1}, it));
  Backwire.connect();
  same([await result, await small], ['error 413', 'success']);
  await becomes(() => notes.pluck('n'), [1]);
  same(Backwire.status.unsent, 0);
});

story('an_invalid_write_online_calls_error_at_once', {config: 'production: {resources: {note: {attributes: {n: {type: number, required: true}}}}}\n'},
  async () => {
    const notes = new Notes();
    await fetched(notes);
    same(await done(it => notes.create({n: 'no number'}, it)), 'error 400');
    same(await saved(new Note(), {}), 'error 400');
    same(await saved(new Note({id: 99}), {n: 1}), 'error 404');
    same(await done(it => new Note({id: 99}).destroy(it)), 'error 404');
    same(Backwire.status.unsent, 0);
  });

story('a_kept_write_that_is_refused_is_reported', {
  tag: ['', 'data-connect="false"'], config: 'production: {resources: {note: {attributes: {n: {type: number, required: true}}}}}\n'
}, async () => {
  const notes = new Notes();
  await http('POST', '/note', {n: 1});
  await fetched(notes);
  await goOffline();
  notes.at(0).save({n: 'no number'});
  notes.create({n: 'none either'});
}, async () => {
  const rejected = [], notes = new Notes();
  Backwire.on('rejected', ({write, status}) => rejected.push(`${write.method} ${write.url} ${status}`));
  notes.fetch();
  await until(() => notes.length === 2, 'what is unsent');
  Backwire.connect();
  await becomes(() => rejected.slice().sort(), ['patch /note/1 400', 'post /note 400']);
  await becomes(() => notes.pluck('n'), [1]);
  const lines = (await consoleLines()).filter(it => it.includes('was refused with status 400'));
  same(lines.length, 2, 'console lines');
});

story('a_create_by_plain_ajax_appears_once', async () => {
  const notes = new Notes(), events = traced(notes, 'add remove');
  await fetched(notes);
  for (let n = 1; n <= 5; n++) await done(it => notes.create({n}, {realtime: false, ...it}));
  for (let n = 6; n <= 10; n++) await done(it => notes.create({n}, {realtime: false, wait: true, ...it}));
  await becomes(() => notes.pluck('id'), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});

story('a_create_by_a_sync_of_the_pages_own_appears_once', async () => {
  const Own = Note.extend({sync(method, model, options) {
    return $.ajax({url: '/note', type: 'POST', contentType: 'application/json', data: JSON.stringify(model), success: options.success});
  }});
  const notes = new (Notes.extend({model: Own}))();
  await new Promise(success => { Backbone.sync('read', notes, {success: list => { notes.set(list); success(); }}); });
  for (let n = 1; n <= 5; n++) await done(it => notes.create({n}, it));
  await becomes(() => notes.pluck('n'), [1, 2, 3, 4, 5]);
});

story('a_create_by_jquery_next_to_a_live_collection_appears_once', async () => {
  const notes = new Notes();
  await fetched(notes);
  for (let n = 1; n <= 4; n++) await $.post('/note', {n: `n${n}`}).then(record => notes.add(record, {merge: true}));
  await becomes(() => notes.pluck('n'), ['n1', 'n2', 'n3', 'n4']);
});

story('a_model_saved_at_each_change_comes_to_rest', async () => {
  const notes = new Notes(), others = new Notes();
  await fetched(notes);
  await fetched(others, {data: {sort: 'n'}});
  let saves = 0;
  notes.on('change', model => {
    saves += 1;
    model.save();
  });
  await http('POST', '/note', {n: 1});
  await until(() => notes.length);
  await http('PATCH', '/note/1', {n: 2});
  await becomes(() => others.pluck('n'), [2]);
  const before = saves;
  await settled(10);
  same(saves, before, 'saves');
  if (saves > 4) throw new Error(`${saves} saves`);
});

story('a_save_that_changes_nothing_is_answered_and_not_pushed', async () => {
  const notes = new Notes(), events = traced(notes, 'update change');
  await http('POST', '/note', {n: 1});
  await fetched(notes);
  const {updatedAt} = notes.at(0).attributes;
  events.length = 0;
  same(await saved(notes.at(0)), 'success');
  same(await saved(notes.at(0), {n: 1}, {patch: true}), 'success');
  await http('PUT', '/note/1', {n: 1});
  await settled();
  same([(await records('/note/1')).updatedAt, events], [updatedAt, []]);
});

// Reads and writes at once
// ------------------------

story('a_model_created_right_after_a_fetch_keeps_its_place', async () => {
  const notes = new Notes();
  notes.fetch();
  const note = notes.create({n: 1});
  await until(() => !note.isNew());
  await becomes(() => notes.length, 1);
  same(notes.at(0) === note, true, 'the model');
  same(await saved(note, {n: 2}), 'success');
  await becomes(() => notes.pluck('n'), [2]);
});

story('a_model_created_before_the_connection_stands_keeps_its_place', {ready: false}, async () => {
  const notes = new Notes(), events = traced(notes, 'add remove');
  notes.fetch();
  notes.create({n: 1});
  notes.create({n: 2}, {at: 0});
  await until(() => notes.length === 2 && notes.every(note => !note.isNew()));
  await becomes(() => notes.pluck('n').sort(), [1, 2]);
  same(events, ['add 1', 'add 2']);
});

story('a_fetch_with_reset_keeps_a_model_whose_create_is_on_its_way', async () => {
  await http('POST', '/note', {n: 1});
  const notes = new Notes();
  await line.freeze();
  notes.create({n: 2});
  notes.fetch({reset: true});
  await line.mend();
  await becomes(() => notes.pluck('n').sort(), [1, 2]);
  same(await numbers('/note'), [1, 2]);
});

// Unreachable server
// ------------------

story('a_fetch_settles_with_status_0_while_the_server_is_unreachable', async () => {
  const notes = new Notes();
  await fetched(notes);
  await line.cut();
  await offline();
  same(await fetched(notes), 'error 0');
  same(await fetched(new Note({id: 1})), 'error 0');
  const note = notes.create({n: 1});
  await line.mend();
  await until(() => !note.isNew(), 'the create');
  same(await numbers('/note'), [1]);
});

story('writes_of_a_cut_line_are_done_once_and_in_order', async () => {
  const notes = new Notes();
  await fetched(notes);
  const note = notes.create({n: 1});
  await until(() => !note.isNew());
  await line.cut();
  await offline();
  const results = [saved(note, {n: 2}), done(it => notes.create({n: 10}, it)), saved(note, {n: 3}), done(it => notes.create({n: 11}, it))];
  await line.mend();
  same(await Promise.all(results), Array(4).fill('success'));
  same(await numbers('/note'), [3, 10, 11]);
  await becomes(() => notes.pluck('n'), [3, 10, 11]);
});

story('a_write_whose_answer_was_lost_with_the_server_is_done_once', async () => {
  const notes = new Notes();
  await fetched(notes);
  await line.deafen();
  const result = done(it => notes.create({n: 1}, it));
  await until(async () => (await numbers('/note')).length === 1);
  await server.kill();
  await server.start();
  await line.cut();
  await offline();
  await line.mend();
  same(await result, 'success');
  await becomes(() => notes.pluck('n'), [1]);
});

// Reloads
// -------

story('writes_of_every_kind_survive_a_reload', {tag: ['', 'data-connect="false"']}, async () => {
  const note = new Note();
  await saved(note, {n: 1});
  await goOffline();
  note.save({n: 2});
  note.save({title: 'b'}, {patch: true});
  note.sync('create', note, {url: '/log', attrs: {n: 'a'}});
  note.sync('create', note, {url: '/log', attrs: {n: 'b'}});
  new Notes().create({n: 9});
  const gone = new Notes().create({n: 10});
  gone.destroy();
  await until(() => Backwire.status.unsent > 0);
}, async () => {
  Backwire.connect();
  await flushed();
  const contents = async () => JSON.stringify([(await records('/note')).map(it => [it.n, it.title ?? null]), await numbers('/log')]);
  const expected = JSON.stringify([[[2, 'b'], [9, null]], ['a', 'b']]);
  await until(async () => await contents() === expected).catch(async () => same(await contents(), expected));
  await settled();
  same(await contents(), expected);
});
