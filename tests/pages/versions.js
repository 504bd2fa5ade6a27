// Old and new versions of Backbone, and pages without jQuery or underscore, are live.

const modelAt = path => Backbone.Model.extend({urlRoot: path});
const listAt = (path, properties) => Backbone.Collection.extend({url: path, model: modelAt(path), ...properties});

// Records all events of a target, also with `bind` of Backbone 0.5.
function follow(target, listener) {
  (target.on || target.bind).call(target, 'all', listener);
}

// Returns the number of requests of the page to a path over HTTP.
const overHttp = path => performance.getEntriesByType('resource')
  .filter(entry => ['xmlhttprequest', 'fetch'].includes(entry.initiatorType) && entry.name.startsWith(location.origin + path)).length;

const sorted = notes => notes.models.map(note => note.get('n')).sort();

// The checks of each page
// -----------------------

// A collection and a model are live: each record is added and removed once.
async function isLive({requests = 0, whileOffline = () => {}} = {}) {
  const notes = new (listAt('/note'))(), events = [];
  await fetched(notes);
  follow(notes, (name, model) => {
    if (/^(add|remove|reset|destroy)$/.test(name)) events.push(`${name} ${model.get && !model.models ? model.get('n') : ''}`.trim());
  });
  same(await done(it => notes.create({n: 1}, it)), 'success');
  await http('POST', '/note', {n: 2});
  await becomes(() => sorted(notes), [1, 2]);
  same(await saved(notes.models[0], {n: 1.5}), 'success');
  const note = new (modelAt('/note'))({id: 1});
  same(await fetched(note), 'success');
  await http('PATCH', '/note/2', {n: 2.5});
  await whileOffline(notes);
  await http('PATCH', '/note/1', {n: 1.75});
  await http('POST', '/note', {n: 3});
  await until(() => sorted(notes).includes(3) && note.get('n') === 1.75, 'the changes of others');
  same(await done(it => notes.models.find(it => it.get('n') === 2.5).destroy(it)), 'success');
  await http('DELETE', '/note/1');
  await until(() => !sorted(notes).includes(1.75), 'the destroy of another');
  await becomes(() => sorted(notes).filter(n => n < 4), [3]);
  const count = name => events.filter(it => it === name).length;
  same(['add 1', 'add 2', 'add 3', 'remove 2.5', 'remove 1.75', 'reset'].map(count), [1, 1, 1, 1, 1, 0], events.join());
  same(events.length, new Set(events).size, events.join());
  same(overHttp('/note'), requests, 'requests over HTTP');
}

// The line is cut, and records are created and destroyed on both sides.
async function cutLine(notes) {
  const [gone] = [await http('POST', '/note', {n: 5})];
  await until(() => sorted(notes).includes(5), 'the note');
  await line.cut();
  await offline();
  await http('POST', '/note', {n: 6});
  await http('DELETE', `/note/${gone.id}`);
  const own = done(it => notes.create({n: 4}, it));
  await line.mend();
  same(await own, 'success');
  await becomes(() => sorted(notes), [1.5, 2.5, 4, 6]);
}

// A change moves a model, with the event that `sort` fires in this version.
async function followsComparator() {
  for (const n of [1, 2, 3]) await http('POST', '/sorted', {n});
  const notes = new (listAt('/sorted', {comparator: note => note.get('n')}))(), events = [];
  await fetched(notes);
  follow(notes, name => { if (/^(sort|reset)$/.test(name)) events.push(name); });
  notes.sort();
  const [event] = events.splice(0);
  await http('PATCH', '/sorted/1', {n: 2.5});
  await becomes(() => notes.models.map(note => note.get('n')), [2, 2.5, 3]);
  same(events, [event], 'events of a move');
  await http('PATCH', '/sorted/1', {text: 'in place'});
  await becomes(() => notes.get(1).get('text'), 'in place');
  same(events, [event], 'events of a change in place');
}

// The answer to a fetch does not contain a model whose create is pending.
async function keepsPendingCreate() {
  await http('POST', '/pending', {n: 1});
  const notes = new (listAt('/pending'))();
  await fetched(notes);
  Backwire.disconnect();
  await offline();
  const refetched = fetched(notes);
  const created = done(it => notes.create({n: 2}, it));
  const lengths = [];
  follow(notes, () => lengths.push(sorted(notes).length));
  const isOptimistic = notes.models.length === 2;
  Backwire.connect();
  same([await created, await refetched], ['success', 'success']);
  await becomes(() => sorted(notes), [1, 2]);
  if (isOptimistic) same(lengths.includes(1), false, 'the create disappears');
  same((await http('GET', '/pending')).map(it => it.n), [1, 2]);
}

// A page that filters a list in `parse` sees the records that pass.
async function filtersByParse() {
  await http('POST', '/filtered', {n: 1, isDone: true});
  await http('POST', '/filtered', {n: 2});
  const notes = new (listAt('/filtered', {parse: list => list.filter(it => !it.isDone)}))();
  await fetched(notes);
  same(sorted(notes), [2]);
  await http('POST', '/filtered', {n: 3, isDone: true});
  await http('POST', '/filtered', {n: 4});
  await http('PATCH', '/filtered/2', {isDone: true});
  await becomes(() => sorted(notes), [4]);
}

// Leaves writes that the next page shows and sends.
async function keepsWrites() {
  await http('POST', '/kept', {n: 1});
  const notes = new (listAt('/kept'))();
  await fetched(notes);
  Backwire.disconnect();
  await offline();
  notes.models[0].save({n: 1.5});
  notes.create({n: 2});
}

async function showsKeptWrites() {
  const notes = new (listAt('/kept'))(), added = [];
  notes.add(new (modelAt('/kept'))({id: 1, n: 1}));
  follow(notes, (name, note) => { if (name === 'add') added.push(note.get('n')); });
  const reading = fetched(notes);
  await until(() => notes.models.length === 2, 'the kept writes');
  same([sorted(notes), added], [[1.5, 2], [2]]);
  Backwire.connect();
  same(await reading, 'success');
  await becomes(() => sorted(notes), [1.5, 2]);
  same((await http('GET', '/kept')).map(it => it.n).sort(), [1.5, 2]);
}

// Versions
// --------

for (const version in VERSIONS) {
  story(`backbone_${nameOf(version)}_is_live_and_keeps_its_writes`, {
    libs: VERSIONS[version], head: MODULE, tag: ['', 'data-connect="false"']
  }, async () => {
    same(Backbone.VERSION, version);
    await isLive({whileOffline: cutLine});
    await followsComparator();
    await keepsPendingCreate();
    await filtersByParse();
    await keepsWrites();
  }, showsKeptWrites);
}

story('a_tag_before_backbone_0_5_installs_itself', {
  libs: [], ready: false, tail: MODULE + VERSIONS['0.5.3'].map(path => `<script src="/npm/${path}"></script>`).join('')
}, async () => {
  await online();
  await isLive();
});

story('events_of_backwire_have_on_and_off_with_backbone_0_5', {libs: VERSIONS['0.5.3'], head: MODULE}, async () => {
  const states = [];
  const note = ({state}) => states.push(state);
  Backwire.on('status', note);
  Backwire.disconnect();
  await offline();
  same(states, ['offline']);
  Backwire.off('status', note);
  Backwire.connect();
  await online();
  same(states, ['offline']);
});

// Without jQuery, without underscore
// ----------------------------------

const LODASH = {2: 'lodash-2/dist/lodash.underscore.js', 3: 'lodash-3/index.js', 4: 'lodash/lodash.js'};
const LODASH_OF = {'1.0.0': LODASH[2], '1.1.2': LODASH[2], '1.2.3': LODASH[3], '1.3.3': LODASH[4], '1.4.1': LODASH[4], '1.6.1': LODASH[4]};

for (const version in LODASH_OF) {
  story(`backbone_${nameOf(version)}_with_lodash_and_without_jquery_is_live`, {libs: [LODASH_OF[version], VERSIONS[version].at(-1)]}, async () => {
    same(typeof window.$, 'undefined');
    await isLive({whileOffline: cutLine});
  });
}

const WITHOUT_JQUERY = ['underscore/underscore-umd.js', 'backbone-1.4.1/backbone.js'];

story('native_views_without_jquery_are_live', {libs: [...WITHOUT_JQUERY, 'backbone.nativeview/backbone.nativeview.js']}, async () => {
  await isLive();
  const notes = new (listAt('/view'))();
  const View = Backbone.NativeView.extend({
    tagName: 'ul',
    initialize() { this.listenTo(notes, 'add remove change reset', this.render); },
    render() { this.el.innerHTML = notes.map(note => `<li>${note.get('n')}</li>`).join(''); return this; }
  });
  const view = new View();
  await fetched(notes);
  await http('POST', '/view', {n: 1});
  await until(() => view.el.innerHTML === '<li>1</li>', 'the note');
});

story('exoskeleton_without_jquery_and_underscore_is_live', {libs: ['exoskeleton/exoskeleton.js']}, async () => {
  same([typeof window.$, typeof window._], ['undefined', 'undefined']);
  await isLive();
});

for (const version of ['0.5.3', '1.0.0', '1.6.1']) {
  const [underscore, , backbone] = VERSIONS[version];
  story(`backbone_${nameOf(version)}_with_zepto_is_live`, {libs: [underscore, 'zepto/dist/zepto.js', backbone]}, async () => {
    same(window.$ === window.Zepto, true);
    await isLive({whileOffline: cutLine});
  });
}

story('zepto_has_its_own_headers_events_and_abort', {libs: ['underscore/underscore-umd.js', 'zepto/dist/zepto.js', 'backbone/backbone.js']}, async () => {
  const events = [];
  $(document).on('ajaxStart ajaxBeforeSend ajaxSend ajaxSuccess ajaxError ajaxComplete ajaxStop', ({type}) => events.push(type.slice(4)));
  for (const key of ['one', 'one', 'two']) {
    same(await saved(new (modelAt('/note'))(), {n: 1}, {beforeSend: xhr => xhr.setRequestHeader('Idempotency-Key', key)}), 'success');
  }
  same((await http('GET', '/note')).length, 2, 'records made with two keys');
  await until(() => events.at(-1) === 'Stop');
  same(events.splice(0, 6), ['Start', 'BeforeSend', 'Send', 'Success', 'Complete', 'Stop']);
  const options = callbacks();
  new (listAt('/note'))().fetch(options).abort();
  same(options.calls, ['error 0']);
  const refused = callbacks({beforeSend: () => false});
  new (listAt('/note'))().fetch(refused);
  same(refused.calls, ['error 0']);
  same(overHttp('/note'), 0, 'requests over HTTP');
});

// Ajax functions without `settings.xhr`
// -------------------------------------

// They send the first request. From the second on Backwire does.
for (const name of ['backbone.nativeajax', 'backbone.fetch']) {
  story(`${name.replace('.', '_')}_is_live`, {libs: [...WITHOUT_JQUERY, `${name}/${name}.js`]}, async () => {
    await isLive({requests: 1});
    const note = new (modelAt('/note'))({n: 5});
    const answer = await note.save();
    same([answer.n, note.isNew()], [5, false], 'the answer');
    const refused = new (modelAt('/note'))({id: 99});
    let status;
    await refused.fetch({error: (model, xhr) => { status = xhr.status; }}).catch(() => {});
    same(status, 404, 'the status of an error');
  });

  story(`${name.replace('.', '_')}_makes_a_create_known_as_its_own`, {libs: [...WITHOUT_JQUERY, `${name}/${name}.js`]}, async () => {
    const notes = new (listAt('/note'))(), added = [];
    notes.on('add', note => added.push(note.get('n')));
    same(await done(it => notes.create({n: 1}, it)), 'success');
    await fetched(notes);
    await http('POST', '/note', {n: 2});
    same(await done(it => notes.create({n: 3}, it)), 'success');
    await becomes(() => sorted(notes), [1, 2, 3]);
    same(added.sort(), [1, 2, 3], 'added');
  });
}

// Other scripts that replace `Backbone.sync`
// ------------------------------------------

const LOCAL = 'backbone.localstorage/backbone.localStorage.js';
const MODERN = VERSIONS['1.6.1'];

// A collection of the plugin stays in the browser, and others are live.
async function isBesideLocalStorage() {
  const Drafts = Backbone.Collection.extend({url: '/draft', localStorage: new Backbone.LocalStorage('drafts')});
  const drafts = new Drafts();
  same(await done(it => drafts.create({n: 1}, it)), 'success');
  same(await fetched(drafts), 'success');
  same(sorted(drafts), [1]);
  same(await saved(drafts.models[0], {n: 2}), 'success');
  same(localStorage.getItem(`drafts-${drafts.models[0].id}`) !== null, true, 'in the browser');
  same(await done(it => drafts.models[0].destroy(it)), 'success');
  same(await http('GET', '/draft'), [], 'on the server');
  await isLive();
}

// The plugin itself does not work with Backbone 1.6.
for (const version of ['0.9.2', '1.1.2', '1.4.1']) {
  const libs = VERSIONS[version];
  story(`backbone_${nameOf(version)}_with_a_localstorage_plugin_before_backwire_is_live`, {libs: [...libs, LOCAL]}, isBesideLocalStorage);
  story(`backbone_${nameOf(version)}_with_a_localstorage_plugin_after_backwire_is_live`, {
    libs, tail: `<script src="/npm/${LOCAL}"></script>`
  }, isBesideLocalStorage);
}

const WRAP = `<script>{
  const {sync} = Backbone;
  window.calls = [];
  Backbone.sync = function(method, model, options) {
    calls.push(method);
    return sync.call(this, method, model, options);
  };
}</script>`;

story('a_sync_that_wraps_the_one_of_backwire_is_called', {libs: MODERN, tail: WRAP}, async () => {
  await isLive();
  same(['create', 'read', 'update', 'delete'].filter(method => !calls.includes(method)), []);
  Backwire.uninstall();
  calls.length = 0;
  same(await fetched(new (listAt('/note'))()), 'success');
  same([calls, overHttp('/note')], [['read'], 1], 'calls and requests over HTTP');
});

story('a_sync_that_replaces_the_one_of_backwire_stays_in_charge', {libs: MODERN, tail: `<script>
  Backbone.sync = (method, model, options) => { options.success(method === 'read' ? [{id: 1, n: 'own'}] : {}); };
</script>`}, async () => {
  const notes = new (listAt('/note'))();
  same(await fetched(notes), 'success');
  same(sorted(notes), ['own']);
  const shared = new (listAt('/note', {sync: Backwire.sync}))();
  same(await fetched(shared), 'success');
  await http('POST', '/note', {n: 2});
  await until(() => sorted(shared).join() === '2', 'the note');
  same([sorted(notes), overHttp('/note')], [['own'], 0]);
});
