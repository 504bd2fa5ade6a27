// A live collection shows the results of its page's requests.

const Model = Backbone.Model.extend({urlRoot: '/note'});
const Notes = Backbone.Collection.extend({url: '/note'});
const numbers = list => list.pluck('n');
const write = attrs => http('POST', '/note', attrs);

async function writeAll(...values) {
  for (const n of values) await write({n});
}

// Pages and filters
// -----------------

story('pages_added_with_remove_false_all_stay_after_a_change', async () => {
  await writeAll(1, 2, 3, 4, 5, 6);
  const notes = new Notes();
  for (const skip of [0, 2, 4]) same(await fetched(notes, {remove: false, data: {sort: 'n', limit: 2, skip}}), 'success');
  await http('PATCH', '/note/1', {seen: true});
  await until(() => notes.get(1).get('seen'));
  await becomes(() => numbers(notes), [1, 2, 3, 4, 5, 6]);
  await http('DELETE', '/note/3');
  await becomes(() => numbers(notes), [1, 2, 4, 5, 6]);
});

story('a_page_fetched_in_place_of_another_is_the_only_one', async () => {
  await writeAll(1, 2, 3, 4);
  const notes = new Notes();
  await fetched(notes, {data: {sort: 'n', limit: 2}});
  await fetched(notes, {data: {sort: 'n', limit: 2, skip: 2}});
  await http('PATCH', '/note/1', {seen: true});
  await becomes(() => numbers(notes), [3, 4]);
  await http('DELETE', '/note/1');
  await becomes(() => numbers(notes), [4]);
});

story('two_filters_in_one_collection_both_stay_live', async () => {
  for (const [n, kind] of [[1, 'a'], [2, 'b'], [3, 'c']]) await write({n, kind});
  const notes = new Notes();
  await fetched(notes, {data: {kind: 'a'}});
  await fetched(notes, {data: {kind: 'b'}, remove: false});
  await write({n: 4, kind: 'a'});
  await write({n: 5, kind: 'b'});
  await write({n: 6, kind: 'c'});
  await becomes(() => numbers(notes).sort(), [1, 2, 4, 5]);
  await http('PATCH', '/note/1', {kind: 'c'});
  await http('PATCH', '/note/2', {kind: 'a'});
  await http('PATCH', '/note/3', {kind: 'b'});
  await becomes(() => numbers(notes).sort(), [2, 3, 4, 5]);
});

story('a_filter_as_json_and_a_filter_as_names_are_both_followed', async () => {
  const whole = new Notes(), where = new Notes(), both = new Notes();
  await fetched(whole);
  await fetched(where, {data: {where: JSON.stringify({n: {'>': 2}})}});
  await fetched(both, {data: 'kind=a&sort=n%20DESC'});
  for (const n of [1, 2, 3, 4]) await write({n, kind: n % 2 ? 'a' : 'b'});
  await becomes(() => [whole, where, both].map(numbers), [[1, 2, 3, 4], [3, 4], [3, 1]]);
});

story('the_url_of_a_query_is_the_one_it_was_sent_with', async () => {
  for (const [n, list] of [[1, 'a'], [2, 'a'], [3, 'b']]) await write({n, list});
  const Items = Backbone.Collection.extend({list: 'a', url() { return `/note?list=${this.list}&sort=n`; }});
  const items = new Items();
  await fetched(items);
  items.list = 'b';
  await http('PATCH', '/note/1', {seen: true});
  await write({n: 4, list: 'a'});
  await write({n: 5, list: 'b'});
  await becomes(() => numbers(items), [1, 2, 4]);
  await fetched(items);
  await becomes(() => numbers(items), [3, 5]);
});

story('data_changed_after_the_fetch_does_not_change_the_query', async () => {
  await writeAll(1, 2, 3, 4);
  const notes = new Notes(), params = {sort: 'n', limit: 2, skip: 0};
  await fetched(notes, {data: params});
  params.skip = 2;
  await fetched(notes, {data: params, remove: false});
  params.limit = 1;
  await http('PATCH', '/note/4', {seen: true});
  await http('PATCH', '/note/1', {seen: true});
  await becomes(() => numbers(notes), [1, 2, 3, 4]);
});

story('parameters_that_a_collection_adds_in_sync_are_part_of_the_query', async () => {
  await writeAll(1, 2, 3);
  const Sorted = Notes.extend({sync(method, model, options) {
    options.data = {...options.data, sort: 'n DESC'};
    return Backbone.sync.call(this, method, model, options);
  }});
  const notes = new Sorted();
  await fetched(notes, {data: {limit: 2}});
  await writeAll(4);
  await becomes(() => numbers(notes), [4, 3]);
});

story('an_empty_page_fills_up', async () => {
  const notes = new Notes();
  await fetched(notes, {data: {sort: 'n', limit: 2}});
  await writeAll(3, 1, 2);
  await becomes(() => numbers(notes), [1, 2]);
  await http('DELETE', '/note/2');
  await becomes(() => numbers(notes), [2, 3]);
});

story('a_window_in_the_middle_moves_with_what_is_before_it', async () => {
  await writeAll(10, 20, 30, 40, 50);
  const notes = new Notes();
  await fetched(notes, {data: {sort: 'n', skip: 1, limit: 2}});
  await writeAll(5);
  await becomes(() => numbers(notes), [10, 20]);
  await http('DELETE', '/note/1');
  await becomes(() => numbers(notes), [20, 30]);
  await http('PATCH', '/note/6', {n: 45});
  await becomes(() => numbers(notes), [30, 40]);
});

// Uses of fetch
// -------------

story('a_fetch_that_the_page_overrides_is_not_called_for_a_change', async () => {
  await writeAll(1, 2, 3, 4, 5, 6);
  const Feed = Notes.extend({
    page: 0,
    calls: 0,
    fetch(options = {}) {
      this.calls += 1;
      const data = {sort: 'n', limit: 2, skip: 2 * this.page++};
      return Notes.prototype.fetch.call(this, {remove: false, ...options, data});
    }
  });
  const feed = new Feed();
  for (let page = 0; page < 2; page++) await fetched(feed);
  await http('PATCH', '/note/2', {seen: true});
  await http('DELETE', '/note/1');
  await becomes(() => numbers(feed), [2, 3, 4, 5]);
  same(feed.calls, 2, 'calls of fetch');
});

story('a_success_handler_of_the_page_runs_once_for_its_fetch', async () => {
  await writeAll(1, 2);
  let calls = 0;
  const Counting = Notes.extend({fetch(options = {}) {
    const {success} = options;
    return Notes.prototype.fetch.call(this, {...options, success(...args) {
      calls += 1;
      success?.(...args);
    }});
  }});
  const notes = new Counting();
  await fetched(notes, {data: {sort: 'n DESC', limit: 1}});
  await writeAll(3);
  await becomes(() => numbers(notes), [3]);
  same(calls, 1, 'calls of success');
});

story('a_silent_fetch_does_not_silence_what_comes_later', async () => {
  await writeAll(1);
  const notes = new Notes(), events = traced(notes, 'add remove reset');
  await fetched(notes, {silent: true, data: {sort: 'n', limit: 2}});
  await writeAll(2);
  await becomes(() => numbers(notes), [1, 2]);
  await http('DELETE', '/note/1');
  await becomes(() => numbers(notes), [2]);
  same(events, ['add 2', 'remove 1'], 'events');
});

story('a_fetch_with_reset_does_not_make_every_change_a_reset', async () => {
  await writeAll(1, 2);
  const notes = new Notes(), events = traced(notes, 'add remove reset');
  await fetched(notes, {reset: true, data: {sort: 'n', limit: 3}});
  await writeAll(0);
  await becomes(() => numbers(notes), [0, 1, 2]);
  Backwire.disconnect();
  await offline();
  await writeAll(-1);
  Backwire.connect();
  await becomes(() => numbers(notes), [-1, 0, 1]);
  same(events, ['reset', 'add 0', 'remove 2', 'add -1'], 'events');
});

story('models_that_the_page_added_itself_stay', async () => {
  await writeAll(1, 2);
  const notes = new Notes();
  await fetched(notes, {data: {sort: 'n', limit: 2}});
  notes.add({n: 'draft'});
  await http('DELETE', '/note/1');
  await writeAll(3);
  await becomes(() => numbers(notes).sort(), [2, 3, 'draft']);
  notes.remove(notes.findWhere({n: 'draft'}));
  same(numbers(notes), [2, 3]);
});

story('a_cached_fetch_is_live', {libs: ['underscore/underscore-umd.js', 'jquery-3/dist/jquery.js', 'backbone/backbone.js',
  'backbone-fetch-cache/backbone.fetch-cache.js']}, async () => {
  await writeAll(1, 2);
  const first = new Notes();
  same(await fetched(first, {cache: true}), 'success');
  await writeAll(3);
  await becomes(() => numbers(first), [1, 2, 3]);
  const second = new Notes();
  await new Promise(resolve => { second.fetch({cache: true}).done(resolve); });
  await http('PATCH', '/note/1', {n: 9});
  await becomes(() => numbers(first), [9, 2, 3]);
});

story('a_new_model_that_reads_a_list_takes_nothing_from_collections', async () => {
  await writeAll(1, 2);
  const notes = new Notes(), events = traced(notes, 'remove destroy');
  await fetched(notes);
  await fetched(notes.add({n: 9}));
  await writeAll(3);
  await until(() => notes.findWhere({n: 3}), 'the new note');
  await settled();
  same([notes.length, events], [4, []]);
});

// Order
// -----

story('a_sort_may_be_a_text_a_list_or_an_object', async () => {
  await writeAll('b', 'd');
  const sorts = {text: 'n', upper: 'n ASC', list: ['n', 'id'], object: {n: 1}, down: {n: -1}, json: '{"n":"desc"}'};
  const lists = {};
  for (const name in sorts) {
    lists[name] = new Notes();
    same(await fetched(lists[name], {data: {sort: sorts[name]}}), 'success', name);
  }
  await writeAll('a', 'c');
  await http('PATCH', '/note/1', {n: 'e'});
  const shown = () => Object.values(lists).map(list => numbers(list).join(''));
  await becomes(shown, ['acde', 'acde', 'acde', 'acde', 'edca', 'edca']);
});

story('a_list_sorted_by_two_names_keeps_that_order', async () => {
  for (const [n, kind] of [[2, 'b'], [1, 'b'], [3, 'a']]) await write({n, kind});
  const notes = new Notes();
  await fetched(notes, {data: {sort: [{kind: 'ASC'}, {n: 'DESC'}]}});
  await write({n: 4, kind: 'a'});
  await http('PATCH', '/note/2', {n: 9});
  await becomes(() => numbers(notes), [4, 3, 9, 2]);
});

story('a_comparator_of_the_page_comes_before_the_servers_order', async () => {
  await writeAll(2, 3);
  const Down = Notes.extend({comparator: model => -model.get('n')});
  const notes = new Down();
  await fetched(notes, {data: {sort: 'n', limit: 5}});
  await writeAll(1, 4);
  await becomes(() => numbers(notes), [4, 3, 2, 1]);
  await http('PATCH', '/note/1', {n: 0});
  await becomes(() => numbers(notes).sort(), [0, 1, 3, 4]);
});

story('a_model_created_at_the_top_stays_there_in_a_list_without_order', async () => {
  await writeAll(1, 2);
  const notes = new Notes();
  await fetched(notes);
  await done(it => notes.create({n: 3}, {at: 0, ...it}));
  await writeAll(4);
  await becomes(() => numbers(notes), [3, 1, 2, 4]);
});

// Models and parse
// ----------------

story('parse_of_a_collection_is_called_for_answers_only', async () => {
  await writeAll(1, 2);
  const calls = [];
  const Parsing = Notes.extend({parse(answer) {
    calls.push(Array.isArray(answer));
    return answer;
  }});
  const notes = new Parsing();
  await fetched(notes);
  await writeAll(3);
  await http('PATCH', '/note/1', {n: 0});
  await becomes(() => numbers(notes), [0, 2, 3]);
  same(calls, [true], 'calls of parse');
});

story('parse_of_a_model_gets_each_record_once', async () => {
  const Parsed = Backbone.Model.extend({parse(record) {
    return {...record, label: `note ${record.n}`};
  }});
  const notes = new (Notes.extend({model: Parsed}))();
  await writeAll(1);
  await fetched(notes);
  await writeAll(2);
  await http('PATCH', '/note/1', {n: 5});
  await becomes(() => notes.pluck('label'), ['note 5', 'note 2']);
});

story('parse_of_a_model_that_renames_attributes_works_for_news', async () => {
  const Renamed = Backbone.Model.extend({
    parse: ({n, ...rest}) => ({...rest, number: n}),
    toJSON() { return {...this.omit('number'), n: this.get('number')}; }
  });
  const notes = new (Notes.extend({model: Renamed}))();
  await writeAll(1);
  await fetched(notes);
  await http('PATCH', '/note/1', {n: 7});
  await writeAll(2);
  await becomes(() => notes.map(it => [it.get('number'), it.has('n')]), [[7, false], [2, false]]);
  same(await saved(notes.at(0), {number: 8}), 'success');
  same((await http('GET', '/note/1')).n, 8);
});

const KEYED = 'production: {resources: {paper: {key: _id, ids: uuid}}}\n';

story('a_model_factory_with_modelId_is_live', {config: KEYED}, async () => {
  const Paper = Backbone.Model.extend({idAttribute: '_id'}), Draft = Paper.extend({isDraft: true});
  const Papers = Backbone.Collection.extend({
    url: '/paper',
    modelId: attrs => attrs._id,
    model: (attrs, options) => new (attrs.n < 0 ? Draft : Paper)(attrs, options)
  });
  for (const n of [1, 2, 3]) await http('POST', '/paper', {n});
  const papers = new Papers(), events = traced(papers, 'add remove destroy');
  await fetched(papers, {data: {sort: 'n DESC', limit: 3}});
  events.length = 0;
  const {_id} = await http('POST', '/paper', {n: 9});
  await becomes(() => numbers(papers), [9, 3, 2]);
  same(events.sort(), ['add 9', 'remove 1'], 'events');
  await http('PATCH', `/paper/${_id}`, {n: 0});
  await becomes(() => numbers(papers), [3, 2, 1]);
  await fetched(papers, {data: {sort: 'n DESC', limit: 3}});
  same(numbers(papers), [3, 2, 1]);
  same(events.filter(it => it.startsWith('destroy')), [], 'destroy events');
});

story('an_undeclared_resource_with_underscore_ids_shows_a_create_once', async () => {
  const Paper = Backbone.Model.extend({idAttribute: '_id'});
  const papers = new (Backbone.Collection.extend({url: '/slip', model: Paper}))();
  await http('POST', '/slip', {_id: 'a', n: 1});
  await fetched(papers);
  await done(it => papers.create({_id: 'b', n: 2}, {type: 'POST', ...it}));
  await http('POST', '/slip', {_id: 'c', n: 3});
  await becomes(() => numbers(papers), [1, 2, 3]);
});

story('a_model_that_is_held_outside_of_its_collection_stays_fresh', async () => {
  await writeAll(1, 2, 3);
  const notes = new Notes();
  await fetched(notes);
  const held = notes.at(2), own = new Notes([held]);
  notes.remove(held);
  await http('PATCH', '/note/3', {n: 30});
  await becomes(() => [held.get('n'), numbers(own)], [30, [30]]);
});

story('a_model_that_was_saved_and_not_read_follows_what_a_list_learns', async () => {
  const model = new Model(), notes = new Notes();
  await fetched(notes, {data: {kind: 'a'}});
  await saved(model, {n: 1, kind: 'a'});
  await becomes(() => numbers(notes), [1]);
  await http('PATCH', model.url(), {n: 2});
  await becomes(() => [model.get('n'), numbers(notes)], [2, [2]]);
  let destroyed = 0;
  model.on('destroy', () => destroyed++);
  await http('DELETE', model.url());
  await becomes(() => [destroyed, notes.length], [1, 0]);
});

story('a_model_and_a_collection_of_one_record_show_the_same', async () => {
  await writeAll(1);
  const notes = new Notes(), model = new Model({id: 1});
  await fetched(notes);
  await fetched(model);
  await saved(model, {n: 2});
  await becomes(() => numbers(notes), [2]);
  await saved(notes.at(0), {n: 3});
  await becomes(() => model.get('n'), 3);
});

story('a_fetch_of_one_collection_updates_another', async () => {
  await writeAll(1);
  const a = new Notes(), b = new Notes();
  await fetched(a);
  await fetched(b, {data: {sort: 'n'}});
  for (let n = 2; n <= 8; n++) await Promise.all([write({n}), fetched(new Notes()), fetched(a)]);
  await becomes(() => [a, b].map(list => numbers(list).sort()), [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8]]);
});

const OWNED = `production:
  resources:
    user: {attributes: {pets: {collection: pet, via: owner}}}
    pet: {attributes: {owner: {model: user}}}
`;

story('a_list_with_populate_misses_no_create', {config: OWNED}, async () => {
  const Pets = Backbone.Collection.extend({url: '/pet'});
  const owned = new Pets(), plain = new Pets();
  await fetched(owned, {data: {populate: 'owner'}});
  await fetched(plain);
  const names = [];
  for (let n = 0; n < 8; n++) {
    names.push(`p${n}`);
    await Promise.all([http('POST', '/pet', {name: `p${n}`}), fetched(new Pets())]);
  }
  await becomes(() => [owned, plain].map(list => list.pluck('name')), [names, names]);
});

story('a_nested_collection_is_live', {config: OWNED}, async () => {
  await http('POST', '/user', {name: 'Ann'});
  await http('POST', '/user', {name: 'Bob'});
  const pets = new (Backbone.Collection.extend({url: '/user/1/pets'}))();
  same(await fetched(pets), 'success');
  await http('POST', '/pet', {name: 'Rex', owner: 1});
  await http('POST', '/pet', {name: 'Tom', owner: 2});
  await http('POST', '/user/1/pets', {name: 'Kit'});
  await becomes(() => pets.pluck('name'), ['Rex', 'Kit']);
  await http('PATCH', '/pet/2', {owner: 1});
  await http('PATCH', '/pet/1', {owner: 2});
  await becomes(() => pets.pluck('name').sort(), ['Kit', 'Tom']);
});

story('a_collection_inside_of_a_model_keeps_to_its_owner', async () => {
  const Board = Backbone.Model.extend({urlRoot: '/board', initialize() {
    this.cards = new Backbone.Collection();
    this.cards.url = () => `/card?board=${this.id}`;
  }});
  const boards = [1, 2].map(id => new Board({id}));
  for (const board of boards) await fetched(board.cards);
  await http('POST', '/card', {n: 1, board: 1});
  await http('POST', '/card', {n: 2, board: 2});
  await becomes(() => boards.map(board => numbers(board.cards)), [[1], [2]]);
  await http('PATCH', '/card/1', {board: 2});
  await becomes(() => boards.map(board => numbers(board.cards).sort()), [[], [1, 2]]);
});

// Catching up
// -----------

story('a_list_catches_up_with_its_pages_after_a_cut', async () => {
  await writeAll(1, 2, 3, 4, 5, 6);
  const notes = new Notes(), events = traced(notes, 'add remove reset');
  for (const skip of [0, 2]) await fetched(notes, {remove: false, data: {sort: 'n', limit: 2, skip}});
  await line.cut();
  await offline();
  events.length = 0;
  await http('DELETE', '/note/1');
  await writeAll(2.5);
  await line.mend();
  await becomes(() => numbers(notes), [2, 2.5, 3, 4]);
  same(events.sort(), ['add 2.5', 'remove 1'], 'events');
});

story('after_a_restart_of_the_server_nothing_is_drawn_twice', async () => {
  await writeAll(1, 2);
  const notes = new Notes(), events = traced(notes, 'add remove reset update');
  await fetched(notes);
  events.length = 0;
  await server.kill();
  await offline();
  await server.start();
  await online();
  await writeAll(3);
  await becomes(() => numbers(notes), [1, 2, 3]);
  same(events, ['add 3', 'update'], 'events');
});

story('stopped_collection_is_not_updated_and_others_are', async () => {
  const notes = new Notes(), others = new Notes();
  await fetched(notes);
  await fetched(others);
  Backwire.stop(notes);
  await writeAll(1);
  await becomes(() => [notes, others].map(numbers), [[], [1]]);
});

story('a_collection_that_the_page_resets_shows_what_its_query_brings', async () => {
  await writeAll(1, 2);
  const notes = new Notes();
  await fetched(notes);
  notes.reset();
  await writeAll(3);
  await until(() => notes.findWhere({n: 3}), 'the new note');
  await fetched(notes);
  await becomes(() => numbers(notes).sort(), [1, 2, 3]);
});

// Offline, reloaded
// -----------------

const SPELLINGS = {plain: '/plain', slash: '/slash/', upper: '/Upper', sorted: '/sorted', host: () => location.origin + '/host'};

story('unsent_writes_are_shown_whatever_the_spelling_of_the_url', {tag: ['', 'data-connect="false"']}, async () => {
  for (const name in SPELLINGS) await http('POST', '/' + name, {n: 'old'});
  const lists = Object.values(SPELLINGS).map(url => new (Backbone.Collection.extend({url}))());
  const data = list => list.url === SPELLINGS.sorted ? {sort: 'n'} : {};
  for (const list of lists) same(await fetched(list, {data: data(list)}), 'success', _.result(list, 'url'));
  Backwire.disconnect();
  await offline();
  for (const list of lists) {
    list.at(0).save({n: 'edited'});
    list.create({n: 'new'});
  }
}, async () => {
  const shown = {};
  for (const name in SPELLINGS) {
    const list = new (Backbone.Collection.extend({url: SPELLINGS[name]}))();
    list.fetch(name === 'sorted' ? {data: {sort: 'n'}} : {});
    shown[name] = list;
  }
  const titles = () => Object.values(shown).map(list => numbers(list).sort().join());
  await until(() => titles().every(it => it === 'edited,new')).catch(() => same(titles(), 'edited,new in each'));
  Backwire.connect();
  await becomes(titles, Object.keys(SPELLINGS).map(() => 'edited,new'));
  for (const name in SPELLINGS) same((await http('GET', '/' + name)).map(it => it.n).sort(), ['edited', 'new'], name);
});

story('unsent_writes_are_shown_in_another_view_of_the_resource', {tag: ['', 'data-connect="false"']}, async () => {
  await writeAll('old');
  const notes = new Notes();
  await fetched(notes);
  Backwire.disconnect();
  await offline();
  notes.at(0).save({n: 'edited'});
  notes.create({n: 'new'});
  notes.create({n: 'gone'}).destroy();
}, async () => {
  const sorted = new Notes();
  sorted.fetch({data: {sort: 'n', limit: 10}});
  const model = new Model({id: 1});
  model.fetch();
  await until(() => sorted.length === 2 && model.get('n') === 'edited', 'what is not sent yet');
  Backwire.connect();
  await becomes(() => [numbers(sorted), model.get('n')], [['edited', 'new'], 'edited']);
});

story('a_model_with_a_constant_url_shows_its_unsent_save_after_a_reload', {tag: ['', 'data-connect="false"']}, async () => {
  const Constant = Backbone.Model.extend({url: '/note'});
  const {id} = await write({n: 'old'});
  const model = new (Backbone.Model.extend({urlRoot: '/note'}))({id});
  await fetched(model);
  Backwire.disconnect();
  await offline();
  new Constant({id, n: 'edited'}).save();
}, async () => {
  const notes = new Notes();
  notes.fetch();
  await until(() => notes.length, 'the unsent save');
  same(numbers(notes), ['edited']);
  Backwire.connect();
  await becomes(() => numbers(notes), ['edited']);
  same((await http('GET', '/note')).map(it => it.n), ['edited']);
});

// Pagination
// ----------

const PAGINATOR = {libs: ['underscore/underscore-umd.js', 'jquery-3/dist/jquery.js', 'backbone/backbone.js',
  'backbone.paginator/lib/backbone.paginator.js']};
const byServer = {pageSize: 'limit', currentPage: null, totalPages: null, totalRecords: null, sortKey: 'sort', order: null,
  skip() { return (this.state.currentPage - this.state.firstPage) * this.state.pageSize; }};

story('a_pageable_collection_in_client_mode_stays_fresh', PAGINATOR, async () => {
  await writeAll(1, 2, 3, 4, 5);
  const Pages = Backbone.PageableCollection.extend({url: '/note', mode: 'client', state: {pageSize: 2}});
  const pages = new Pages();
  same(await fetched(pages, {data: {sort: 'n'}}), 'success');
  same(numbers(pages), [1, 2]);
  same(pages.fullCollection.length, 5);
  await http('PATCH', '/note/1', {n: 1.5});
  await http('PATCH', '/note/4', {n: 4.5});
  await becomes(() => [numbers(pages), numbers(pages.fullCollection)], [[1.5, 2], [1.5, 2, 3, 4.5, 5]]);
  pages.getNextPage();
  same(numbers(pages), [3, 4.5]);
  await http('PATCH', '/note/3', {n: 3.5});
  await http('PATCH', '/note/1', {n: 1});
  await becomes(() => [numbers(pages), numbers(pages.fullCollection)], [[3.5, 4.5], [1, 2, 3.5, 4.5, 5]]);
});

story('a_pageable_collection_in_server_mode_is_live_on_its_page', PAGINATOR, async () => {
  await writeAll(1, 2, 3, 4, 5);
  const Pages = Backbone.PageableCollection.extend({
    url: '/note', state: {pageSize: 2, sortKey: 'n', firstPage: 0}, queryParams: byServer
  });
  const pages = new Pages();
  same(await fetched(pages), 'success');
  same(numbers(pages), [1, 2]);
  await new Promise(success => { pages.getNextPage({success}); });
  same(numbers(pages), [3, 4]);
  await http('PATCH', '/note/3', {n: 3.5});
  await writeAll(2.5);
  await becomes(() => numbers(pages), [2.5, 3.5]);
  await http('DELETE', '/note/1');
  await becomes(() => numbers(pages), [3.5, 4]);
});

story('a_pageable_collection_in_infinite_mode_stays_fresh', PAGINATOR, async () => {
  await writeAll(1, 2, 3, 4, 5);
  const Pages = Backbone.PageableCollection.extend({
    url: '/note', mode: 'infinite', state: {pageSize: 2, sortKey: 'n', firstPage: 0}, queryParams: byServer,
    parseLinks({xhr}) {
      const next = this.state.currentPage + 1;
      return next < 3 ? {next: `/note?sort=n&limit=2&skip=${2 * next}`} : {};
    }
  });
  const pages = new Pages();
  await fetched(pages);
  same(numbers(pages), [1, 2]);
  await new Promise(success => { pages.getNextPage({success}); });
  await until(() => pages.fullCollection.length >= 4);
  const before = numbers(pages.fullCollection);
  await http('PATCH', '/note/1', {n: 1.5});
  await http('PATCH', '/note/3', {n: 3.5});
  await becomes(() => numbers(pages.fullCollection), before.map(n => ({1: 1.5, 3: 3.5})[n] ?? n));
});
