// The page's ajax settings and hooks work as usual.

const Note = Backbone.Model.extend({urlRoot: '/note'});
const Notes = Backbone.Collection.extend({url: '/note', model: Note});
const numbers = async path => (await http('GET', path)).map(it => it.n);
// `tests/pages/comparison.js` has jQuery 1.6, which this Backbone does not know.
const {1.6: unknown, ...JQUERIES} = JQUERY;
const withJquery = file => ['underscore/underscore-umd.js', file, 'backbone/backbone.js'];
const WITHOUT_JQUERY = ['underscore/underscore-umd.js', 'backbone/backbone.js'];
const STATIC_MODULE = 'underscore/package.json';

// Returns the number of requests to a path over HTTP.
const overHttp = path => performance.getEntriesByType('resource')
  .filter(entry => entry.initiatorType === 'xmlhttprequest' && new URL(entry.name).pathname.startsWith(path)).length;

// Sends two creates with the same idempotency key. One record means that the header has arrived.
async function sendsHeader(send) {
  for (let time = 0; time < 2; time++) await send('key-of-the-page');
  same(await numbers('/note'), [1], 'records made with one key');
  same(overHttp('/note'), 0, 'requests over HTTP');
}
const KEY = 'Idempotency-Key';
const create = options => done(it => new Notes().create({n: 1}, {...options, ...it}));

// Headers
// -------

story('headers_of_the_options_arrive', () => sendsHeader(key => create({headers: {[KEY]: key}})));

story('headers_set_in_beforeSend_arrive', () => sendsHeader(key => create({beforeSend: xhr => xhr.setRequestHeader(KEY, key)})));

story('headers_of_ajaxSetup_arrive', () => sendsHeader(key => {
  $.ajaxSetup({headers: {[KEY]: key}});
  return create();
}));

story('headers_set_by_beforeSend_of_ajaxSetup_arrive', () => sendsHeader(key => {
  $.ajaxSetup({beforeSend: xhr => xhr.setRequestHeader(KEY, key)});
  return create();
}));

story('headers_set_by_a_prefilter_arrive', () => {
  $.ajaxPrefilter((options, original, jqXhr) => jqXhr.setRequestHeader(KEY, 'key-of-the-page'));
  return sendsHeader(() => create());
});

story('headers_set_at_ajaxSend_arrive', () => {
  $(document).on('ajaxSend', (event, jqXhr) => jqXhr.setRequestHeader(KEY, 'key-of-the-page'));
  return sendsHeader(() => create());
});

story('headers_arrive_on_a_page_without_jquery', {libs: WITHOUT_JQUERY}, () =>
  sendsHeader(key => create({headers: {[KEY]: key}})));

story('headers_of_the_answer_come_back', async () => {
  await http('POST', '/note', {n: 1});
  const notes = new Notes(), xhr = notes.fetch();
  await new Promise((resolve, reject) => { xhr.then(resolve, reject); });
  same(xhr.getResponseHeader('content-type').split(';')[0], 'application/json');
  same(/^content-type: /mi.test(xhr.getAllResponseHeaders()), true, 'all headers');
  same([xhr.status, xhr.statusText, xhr.readyState], [200, 'OK', 4]);
  const created = new Note().save({n: 2});
  await new Promise(resolve => { created.always(resolve); });
  same([created.status, created.statusText], [201, 'Created']);
});

// Hooks
// -----

for (const version in JQUERIES) {
  story(`global_ajax_events_are_those_of_jquery_${version.replace('.', '_')}`, {libs: withJquery(JQUERIES[version])}, async () => {
    const events = [];
    $(document).on('ajaxStart ajaxSend ajaxSuccess ajaxError ajaxComplete ajaxStop', ({type}) => events.push(type.slice(4)));
    await saved(new Note(), {n: 1});
    await until(() => events.includes('Stop'));
    same(events.splice(0), ['Start', 'Send', 'Success', 'Complete', 'Stop']);
    await fetched(new Note({id: 99}));
    await until(() => events.includes('Stop'));
    same(events, ['Start', 'Send', 'Error', 'Complete', 'Stop']);
    same(overHttp('/note'), 0, 'requests over HTTP');
  });
}

story('a_call_made_offline_does_not_start_a_spinner', async () => {
  const events = [];
  $(document).on('ajaxStart', () => events.push('start'));
  const notes = new Notes();
  await fetched(notes);
  events.length = 0;
  Backwire.disconnect();
  await offline();
  const result = done(it => notes.create({n: 1}, it));
  same(events, []);
  Backwire.connect();
  same(await result, 'success');
});

story('beforeSend_may_refuse_a_request', async () => {
  let calls = 0;
  const refuse = {beforeSend: () => false, success: () => calls++, error: () => calls++};
  new Note().save({n: 1}, refuse);
  new Notes().fetch(refuse);
  await settled();
  same([await numbers('/note'), calls, Backwire.status.unsent], [[], calls, 0]);
});

story('a_prefilter_may_change_the_url', {args: ['--prefix', '/api']}, async () => {
  $.ajaxPrefilter(options => { options.url = options.url.replace(/^\/(?!api)/, '/api/'); });
  const notes = new Notes();
  same(await done(it => notes.create({n: 1}, it)), 'success');
  same(await fetched(notes), 'success');
  await http('POST', '/api/note', {n: 2});
  await until(() => notes.length === 2, 'the note of somebody else');
  same(await saved(notes.at(1), {n: 3}), 'success');
  same((await http('GET', '/api/note')).map(it => it.n), [1, 3]);
});

story('an_ajax_function_of_the_page_may_change_the_url', {args: ['--prefix', '/api']}, async () => {
  const {ajax} = Backbone;
  Backbone.ajax = settings => ajax.call(Backbone, {...settings, url: '/api' + settings.url});
  const notes = new Notes();
  same(await done(it => notes.create({n: 1}, it)), 'success');
  same(await fetched(notes), 'success');
  await http('POST', '/api/note', {n: 2});
  await until(() => notes.length === 2, 'the note of somebody else');
});

story('a_prefilter_that_changes_the_body_of_a_save_has_it_sent_as_it_is', async () => {
  await http('POST', '/note', {n: 1, title: 'a', kept: true});
  const note = new Note({id: 1});
  await fetched(note);
  $.ajaxPrefilter(options => {
    if (/PUT|PATCH/.test(options.type)) options.data = JSON.stringify({n: 7});
  });
  same(await saved(note, {title: 'b'}), 'success');
  const {n, title} = await http('GET', '/note/1');
  same([n, title], [7, 'a']);
});

story('an_ajax_function_of_the_page_is_called_for_every_request', async () => {
  const {ajax} = Backbone, types = [];
  Backbone.ajax = function(settings) {
    types.push(settings.type);
    return ajax.apply(this, arguments);
  };
  const note = new Note();
  await saved(note, {n: 1});
  await saved(note, {n: 2});
  await fetched(note);
  await done(it => note.destroy(it));
  same(types, ['POST', 'PUT', 'GET', 'DELETE']);
  same(overHttp('/note'), 0, 'requests over HTTP');
});

story('an_ajax_function_that_makes_its_own_requests_is_reported_and_replaced', async () => {
  Backbone.ajax = settings => fetch(settings.url, {method: settings.type, body: settings.data, headers: {'content-type': 'application/json'}})
    .then(answer => answer.json()).then(settings.success, settings.error);
  const notes = new Notes();
  same(await fetched(notes), 'success');
  same(await done(it => notes.create({n: 1}, it)), 'success');
  await http('POST', '/note', {n: 2});
  await until(() => notes.length === 2, 'the note of somebody else');
  same((await consoleLines()).filter(it => it.includes('Backbone.ajax of this page')).length, 1, 'console lines');
});

// Data types
// ----------

story('data_type_text_gives_a_text', async () => {
  await http('POST', '/note', {n: 1});
  const text = await new Promise(resolve => {
    Backbone.sync('read', new Note({id: 1}), {dataType: 'text', success: resolve});
  });
  same([typeof text, JSON.parse(text).n], ['string', 1]);
  same(overHttp('/note'), 0, 'requests over HTTP');
});

story('converters_and_dataFilter_see_the_answer', async () => {
  await http('POST', '/note', {n: 1});
  const note = new Note({id: 1});
  await fetched(note, {dataFilter: text => text.replace('"n":1', '"n":5')});
  same(note.get('n'), 5);
  await fetched(note, {converters: {'text json': text => ({...JSON.parse(text), converted: true})}});
  same(note.get('converted'), true);
});

story('static_file_is_read_over_http', async () => {
  const file = new (Backbone.Model.extend({url: `/npm/${STATIC_MODULE}`}))();
  same(await fetched(file), 'success');
  same(file.get('name'), 'underscore');
  same(await fetched(file), 'success');
  const missing = new (Backbone.Model.extend({url: '/npm/none/of/this.json'}))();
  same(await fetched(missing), 'error 404');
});

story('a_create_with_progress_events_is_in_its_list_once', async () => {
  const notes = new Notes();
  await fetched(notes);
  const events = [];
  const xhr = () => {
    const made = new XMLHttpRequest();
    made.upload.addEventListener('progress', ({loaded}) => events.push(loaded));
    return made;
  };
  same(await done(it => notes.create({n: 1}, {...it, xhr})), 'success');
  same(await done(it => notes.create({n: 2}, {...it, wait: true, xhr})), 'success');
  await becomes(() => notes.map(note => [note.id, note.get('n')]), [[1, 1], [2, 2]]);
  same([overHttp('/note'), events.length > 0], [2, true], 'requests over HTTP, and progress');
});

story('jsonp_is_sent_as_usual', async () => {
  const jsonp = url => new Promise(resolve => {
    new Notes().fetch({url, dataType: 'jsonp', success: () => resolve('success'), error: (_, xhr, {textStatus}) => resolve(textStatus)});
  });
  const path = '/npm/requirejs/require.js';
  same(await jsonp(stories.server + path), 'parsererror');
  const asked = performance.getEntriesByType('resource').filter(it => it.initiatorType === 'script').map(it => it.name);
  same(asked.some(name => name.startsWith(`${stories.server}${path}?callback=`)), true, 'a script');
  same(await jsonp(path), 'parsererror');
});

story('a_blocking_request_has_its_answer_when_it_returns', async () => {
  await http('POST', '/note', {n: 1});
  const notes = new Notes();
  notes.fetch({async: false});
  same(notes.pluck('n'), [1]);
  const note = new Note();
  note.save({n: 2}, {async: false});
  same(note.isNew(), false, 'new');
});

story('request_to_another_origin_is_sent_over_http', async () => {
  await http('POST', '/note', {n: 1});
  const notes = new Notes();
  same(await fetched(notes, {url: stories.server + '/note'}), 'success');
  same(notes.pluck('n'), [1]);
  same(overHttp('/note'), 1, 'requests over HTTP');
});

// Promises, abort, timeout
// ------------------------

for (const version in JQUERIES) {
  story(`promises_are_those_of_jquery_${version.replace('.', '_')}`, {libs: withJquery(JQUERIES[version])}, async () => {
    const calls = [];
    const settle = promise => new Promise(resolve => { promise.always(() => resolve()); });
    const good = new Notes().fetch();
    good.done((list, text, xhr) => calls.push(['done', list, text, xhr === good]));
    // Before 1.8 `then` returns the same promise.
    const then = version === '1.7' ? [] : 0;
    await settle(good.then(list => list.length).done(result => calls.push(['then', result])));
    const bad = new Note({id: 99}).fetch();
    await settle(bad.then(() => calls.push('no')).fail(xhr => calls.push(['fail', xhr.status])));
    same(calls, [['done', [], 'success', true], ['then', then], ['fail', 404]]);
    same(bad.state(), 'rejected');
    same(JSON.parse(bad.responseText).code, 'E_NOT_FOUND');
  });
}

story('promises_of_a_page_without_jquery_have_done_and_fail', {libs: WITHOUT_JQUERY}, async () => {
  const calls = [];
  const good = new Notes().fetch();
  good.done(list => calls.push(['done', list]));
  await good;
  const bad = new Note({id: 99}).fetch();
  bad.fail(xhr => calls.push(['fail', xhr.status]));
  await bad.catch(xhr => calls.push(['catch', xhr.status]));
  same(calls, [['done', []], ['fail', 404], ['catch', 404]]);
});

story('abort_calls_error_once', async () => {
  for (const call of [it => new Notes().fetch(it), it => new Note().save({n: 1}, it)]) {
    await line.freeze();
    const options = callbacks();
    const xhr = call(options);
    xhr.abort();
    xhr.abort();
    same([options.calls, xhr.statusText], [['error 0'], 'abort']);
    await line.mend();
  }
  await settled();
});

story('an_aborted_save_that_was_made_offline_is_not_sent', async () => {
  await settled();
  Backwire.disconnect();
  await offline();
  const options = callbacks(), xhr = new Note().save({n: 1}, options);
  xhr.abort();
  same([options.calls, Backwire.status.unsent], [['error 0'], 0]);
  Backwire.connect();
  await online();
  await settled();
  same([await numbers('/note'), options.calls], [[], ['error 0']]);
});

story('a_timeout_calls_error_and_withdraws_an_unsent_write', async () => {
  await settled();
  Backwire.disconnect();
  await offline();
  const options = callbacks({timeout: 50});
  const xhr = new Note().save({n: 1}, options);
  await options.ended;
  same([options.calls, xhr.statusText, Backwire.status.unsent], [['error 0'], 'timeout', 0]);
  Backwire.connect();
  await online();
  await settled();
  same(await numbers('/note'), []);
});

story('a_fetch_times_out_while_the_line_is_frozen', async () => {
  await line.freeze();
  const options = callbacks({timeout: 50}), xhr = new Notes().fetch(options);
  await options.ended;
  same([options.calls, xhr.statusText], [['error 0'], 'timeout']);
  await line.mend();
});

// Old emulations
// --------------

story('emulateHTTP_and_emulateJSON_work', async () => {
  Backbone.emulateHTTP = true;
  const note = new Note();
  same(await saved(note, {n: 1}), 'success');
  same(await saved(note, {n: 2}), 'success');
  Backbone.emulateJSON = true;
  same(await saved(note, {n: 3}), 'success');
  same(await saved(new Note(), {n: 9}), 'success');
  same(await numbers('/note'), [3, 9]);
  same(await done(it => note.destroy(it)), 'success');
  same(await numbers('/note'), [9]);
});

story('error_handler_gets_the_arguments_of_jquery', {config: 'production: {resources: {note: {attributes: {n: {type: number, required: true}}}}}\n'}, async () => {
  const [model, xhr, {textStatus, errorThrown}] = await new Promise(resolve => {
    new Note().save({n: 'x'}, {error: (...args) => resolve(args)});
  });
  same([model.get('n'), xhr.status, xhr.statusText, textStatus, errorThrown], ['x', 400, xhr.statusText, 'error', xhr.statusText]);
  same(JSON.parse(xhr.responseText).code, xhr.responseJSON.code);
});

story('status_codes_call_their_handlers', async () => {
  const calls = [];
  const statusCode = {200: () => calls.push(200), 201: () => calls.push(201), 404: () => calls.push(404)};
  await saved(new Note(), {n: 1}, {statusCode});
  await fetched(new Notes(), {statusCode});
  await fetched(new Note({id: 99}), {statusCode});
  await until(() => calls.length === 3);
  same(calls, [201, 200, 404]);
});

story('the_context_of_the_options_is_this_in_callbacks_of_jquery', async () => {
  const context = {mine: true};
  const complete = await new Promise(resolve => {
    new Notes().fetch({context, complete() { resolve(this); }});
  });
  same(complete === context, true, 'this');
});
