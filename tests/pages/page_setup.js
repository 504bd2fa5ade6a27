// Backwire works in pages with different set-ups.

const CORE = ['underscore/underscore-umd.js', 'jquery/dist/jquery.js'];
const scriptTags = paths => paths.map(path => `<script src="/npm/${path}"></script>`).join('');
const listAt = url => new (Backbone.Collection.extend({url}))();
const numbers = list => list.pluck('n');

// Checks that a collection of the page's own Backbone is live.
async function isLive(library = Backbone) {
  await until(() => window.Backwire?.status.state === 'online', 'the page to be online');
  const notes = new (library.Collection.extend({url: '/note'}))();
  same(await fetched(notes), 'success');
  same(await done(it => notes.create({n: 1}, it)), 'success');
  await http('POST', '/note', {n: 2});
  await until(() => notes.length === 2, 'the note of somebody else');
  same(numbers(notes), [1, 2]);
  const requests = performance.getEntriesByType('resource').filter(it => it.initiatorType === 'xmlhttprequest');
  same(requests.length, 0, 'requests over HTTP');
}

// Modules and loaders
// -------------------

const module = text => `<script type="module">${text}; window.isReady = true;</script>`;

story('a_bundle_with_import_star_is_live', {tag: null, libs: [], ready: false, 
  tail: '<script type="module" src="/bundle.js"></script>'}, async () => {
  await until(() => window.bundled, 'the bundle');
  await isLive(bundled.Backbone);
});

story('a_module_namespace_with_a_default_export_is_live', {
  libs: [...CORE, 'backbone/backbone.js'], tag: null, ready: false,
  tail: module(`import * as library from '/default.mjs'; import Backwire from '/backwire.esm.js';
    window.Backwire = Backwire.install(library, {url: '/'}); window.library = library`)
}, async () => {
  await until(() => window.isReady, 'the module');
  await isLive(window.library.default);
});

story('a_frozen_module_namespace_is_live', {
  libs: [...CORE, 'backbone/backbone.js'], tag: null, ready: false,
  tail: module(`import * as library from '/named.mjs'; import Backwire from '/backwire.esm.js';
    window.Backwire = Backwire.install(library, {url: '/'}); window.library = library`)
}, async () => {
  await until(() => window.isReady, 'the module');
  await isLive(window.library);
  Backwire.uninstall();
  same(await fetched(new (window.library.Collection.extend({url: '/note'}))()), 'success');
  same(performance.getEntriesByType('resource').filter(it => it.initiatorType === 'xmlhttprequest').length, 1, 'requests over HTTP');
});

const REQUIRE = `<script src="/npm/requirejs/require.js"></script><script>
  require.config({paths: {underscore: '/npm/underscore/underscore-umd', jquery: '/npm/jquery/dist/jquery', backbone: '/npm/backbone/backbone'}});
  require(['backbone'], library => { window.library = library; });
</script>`;

story('a_tag_before_require_js_installs_itself', {libs: [], ready: false, tail: REQUIRE}, async () => {
  await until(() => window.library, 'Backbone');
  await isLive(window.library);
});

story('a_tag_after_require_js_installs_itself', {libs: ['requirejs/require.js'], ready: false,
  tail: REQUIRE.slice(REQUIRE.indexOf('<script>'))}, async () => {
  await until(() => window.library, 'Backbone');
  await isLive(window.library);
});

story('a_tag_before_backbone_installs_itself', {libs: [], ready: false, tail: scriptTags([...CORE, 'backbone/backbone.js'])}, () => isLive());

story('a_tag_before_an_old_backbone_installs_itself', {
  libs: [], ready: false, tail: scriptTags(['underscore-1.4/underscore.js', 'jquery-1.12/dist/jquery.js', 'backbone-0.9.10/backbone.js'])
}, () => isLive());

story('a_tag_with_async_installs_itself', {tag: 'async', ready: false}, () => isLive());

story('a_tag_with_defer_installs_itself', {tag: 'defer', ready: false}, () => isLive());

story('console_reports_that_backwire_waits_for_backbone', {libs: [], ready: false}, async () => {
  await until(() => document.readyState === 'complete');
  let lines = [];
  await until(async () => (lines = [...lines, ...await consoleLines()]).some(it => it.includes('waits for window.Backbone')), 'the line');
});

// Console messages
// ----------------

story('an_empty_list_is_explained_once_for_each_resource', async () => {
  for (const url of ['/one', '/two', '/one', '/one?sort=n']) await fetched(listAt(url));
  const lines = (await consoleLines()).filter(it => it.includes('is empty'));
  same(lines.length, 2, lines.join('\n'));
  for (const line of lines) for (const word of ['--prefix', 'realtime: false']) same(line.includes(word), true, line);
});

story('an_empty_list_of_a_declared_resource_is_not_explained', {config: 'production: {resources: {note: {}}}\n'}, async () => {
  await fetched(listAt('/note'));
  same((await consoleLines()).filter(it => it.includes('is empty')), []);
});

story('a_refused_origin_is_reported_once_and_names_the_setting', {host: 'app.example', script: 'src="SERVER/backwire.js"', ready: false}, async () => {
  const reasons = [];
  Backwire.on('refused', it => reasons.push(it));
  const lines = [];
  const notes = new (Backbone.Collection.extend({url: stories.server + '/note'}))();
  const result = fetched(notes);
  await until(async () => lines.push(...await consoleLines()) && lines.some(it => it.includes('--origin')), 'the message');
  same(await result, 'error 0');
  same(await fetched(notes), 'error 0');
  lines.push(...await consoleLines());
  const own = lines.filter(it => it.includes('--origin'));
  same([own.length, own[0].includes(`--origin ${location.origin}`)], [1, true], own.join('\n'));
  same(Backwire.status.state, 'offline');
  same(reasons.length, 1, JSON.stringify(reasons));
  const logged = (await server.log()).filter(it => it.includes(location.origin));
  same(logged.length, 1, logged.join('\n'));
});

story('a_policy_that_forbids_the_connection_is_reported', {
  host: 'localhost', script: 'src="SERVER/backwire.js"', ready: false,
  head: `<meta http-equiv="Content-Security-Policy" content="connect-src 'self'">`
}, async () => {
  const lines = [];
  await until(async () => lines.push(...await consoleLines()) && lines.some(it => it.includes('Backwire') && it.includes('connect-src')), 'the message');
  same(lines.filter(it => it.includes('Backwire: ') && it.includes('connect-src')).length, 1, 'messages');
});

story('a_page_of_another_port_of_localhost_is_served', {host: 'localhost', script: 'src="SERVER/backwire.js"'}, async () => {
  const notes = listAt('/note');
  same(await fetched(notes), 'success');
  await http('POST', '/note', {n: 1});
  await until(() => notes.length === 1);
  same(await saved(notes.at(0), {n: 2}), 'success');
});

// CSRF tokens
// -----------

// The lines of docs/reference/http-and-socket-api.md.
const sendTokenOfPage = () => $.ajaxPrefilter((options, original, xhr) => {
  xhr.setRequestHeader('X-CSRF-Token', $('meta[name=csrf-token]').attr('content'));
});

story('a_csrf_token_of_a_meta_element_is_sent_over_the_socket_and_over_http', {config: 'csrf: true\n', head: '<meta name="csrf-token">'}, async () => {
  const Note = Backbone.Model.extend({urlRoot: '/note'});
  const PlainNote = Note.extend({realtime: false});
  for (const Type of [Note, PlainNote]) same(await saved(new Type(), {n: 1}), 'error 403');
  sendTokenOfPage();
  const {_csrf} = await (await fetch('/csrfToken')).json();
  $('meta[name=csrf-token]').attr('content', _csrf);
  const note = new Note();
  same(await saved(note, {n: 1}), 'success');
  same(await saved(note, {n: 2}), 'success');
  same(await saved(new PlainNote(), {n: 3}), 'success');
  same(numbers(new Backbone.Collection(await http('GET', '/note'))), [2, 3]);
  const writes = performance.getEntriesByType('resource').filter(it => it.initiatorType === 'xmlhttprequest');
  same(writes.length, 2, 'the writes of plain models over HTTP');
});

// The push service
// ----------------

const SITES = `shop: {authUrl: "PAGES/rooms.json", apiKey: "54321", userRoomPrefix: user_}
closed: {authUrl: "PAGES/nothing", apiKey: "54321", userRoomPrefix: user_}
`;
const send = (event, ...args) => fetch(`${stories.server}/send?site=shop&apiKey=54321`, {
  method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify({rooms: ['user_1'], event, args})
});

story('an_event_without_a_handler_waits_for_one', {sites: SITES, tag: 'data-site="shop" data-token="abc"'}, async () => {
  const heard = [];
  await send('early', 1);
  await send('later', 2);
  await send('early', 3);
  await settled();
  same(heard, []);
  Backwire.socket.on('early', number => { heard.push(number); });
  await until(() => heard.length === 1, 'the first');
  Backwire.socket.on('later', number => { heard.push(number); });
  await until(() => heard.length === 3, 'the others');
  same(heard, [1, 2, 3]);
});

story('an_event_that_is_ignored_by_name_keeps_nothing_waiting', {sites: SITES, tag: 'data-site="shop" data-token="abc"'}, async () => {
  const heard = [];
  Backwire.socket.on('news', number => { heard.push(number); });
  await send('noise', 1);
  await send('news', 2);
  await settled();
  same(heard, []);
  Backwire.socket.ignore('noise');
  await until(() => heard.length === 1, 'the news');
  await send('noise', 3);
  await send('news', 4);
  await until(() => heard.length === 2, 'the news');
});

story('an_event_that_waits_is_there_after_a_reload', {sites: SITES, tag: 'data-site="shop" data-token="abc"'}, async () => {
  await send('early', 1);
  await settled();
}, async () => {
  const heard = [];
  Backwire.socket.on('early', number => { heard.push(number); });
  await until(() => heard.length === 1);
  await settled();
  same(heard, [1]);
});

for (const [name, site] of [['an_unknown_site', 'data-site="none" data-token="abc"'], ['a_refused_token', 'data-site="closed" data-token="abc"']]) {
  story(`${name}_is_refused_without_further_attempts`, {sites: SITES, tag: `${site} data-connect="false"`}, async () => {
    const events = [], {WebSocket} = window;
    let sockets = 0;
    window.WebSocket = function(...args) {
      sockets += 1;
      return new WebSocket(...args);
    };
    Backwire.on('refused unauthorized', it => events.push(it));
    Backwire.connect();
    await until(() => events.length, 'the event');
    // This is longer than the first pauses before another attempt.
    await new Promise(resolve => { setTimeout(resolve, 1500); });
    same([events.length, sockets, Backwire.status.state], [1, 1, 'offline'], 'events, sockets and state');
  });
}

story('a_token_is_not_in_the_url_of_the_socket', {sites: SITES, tag: 'data-site="shop" data-token="secret-token"'}, async () => {
  same(performance.getEntries().filter(it => it.name.includes('secret-token')), []);
  same((await server.log()).filter(it => it.includes('secret-token')), []);
});

// The badge and the log of frames
// -------------------------------

const badge = () => document.querySelector('backwire-status');
const shown = () => badge().shadowRoot?.querySelector('[role=status]').textContent;

story('the_badge_shows_the_state_and_the_unsent_writes', {
  tail: '<backwire-status text-offline="Nicht verbunden" text-unsent="{text}, {count} nicht gesendet"></backwire-status>'
}, async () => {
  await until(() => shown() === 'Online', 'the badge to be online');
  Backwire.disconnect();
  await until(() => shown() === 'Nicht verbunden', 'the badge to be offline');
  new (Backbone.Model.extend({urlRoot: '/note'}))().save({n: 1});
  await until(() => shown() === 'Nicht verbunden, 1 nicht gesendet', 'the unsent write');
  same([badge().getAttribute('state'), badge().hasAttribute('unsent')], ['offline', true]);
  Backwire.connect();
  await until(() => shown() === 'Online' && !badge().hasAttribute('unsent'), 'the badge to be online again');
});

story('a_badge_that_is_added_later_is_loaded_then_and_ends_with_its_element', async () => {
  const isLoaded = () => performance.getEntriesByType('resource').some(it => it.name.endsWith('/backwire.status.js'));
  same(isLoaded(), false, 'the part of the badge');
  document.body.append(document.createElement('backwire-status'));
  await until(() => shown() === 'Online', 'the badge');
  const [element] = [badge()];
  element.remove();
  Backwire.disconnect();
  same(element.shadowRoot.querySelector('[role=status]').textContent, 'Online', 'the text of the removed badge');
  document.body.append(element);
  same(shown(), 'Offline');
});

story('a_badge_is_up_to_date_if_a_handler_of_status_throws_or_all_are_removed', {
  tail: '<backwire-status></backwire-status>'
}, async () => {
  await until(() => shown() === 'Online', 'the badge to be online');
  window.addEventListener('error', event => event.preventDefault());
  Backwire.on('status', () => { throw new Error('of a handler'); });
  Backwire.disconnect();
  await until(() => shown() === 'Offline', 'the badge to be offline');
  Backwire.off();
  Backwire.connect();
  await until(() => shown() === 'Online', 'the badge to be online again');
});

story('debug_logs_the_frames_of_a_page', async () => {
  const lines = [];
  const {log} = console;
  console.log = (...parts) => lines.push(parts.join(' '));
  Backwire.debug();
  await until(() => performance.getEntriesByType('resource').some(it => it.name.endsWith('/backwire.debug.js')), 'the part');
  const notes = listAt('/note');
  await until(async () => {
    await fetched(notes);
    return lines.some(line => /^Backwire → \d+ GET \/note/.test(line));
  }, 'the line of a request').finally(() => { console.log = log; });
});
