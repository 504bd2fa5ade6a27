// A page behind a proxy that does not let WebSockets through is live by HTTP long-polling.

const Note = Backbone.Model.extend({urlRoot: '/note'});
const listAt = url => new (Backbone.Collection.extend({url}))();
const numbers = list => list.pluck('n');

// Records the transports of the page. `window.quick` shortens the pause between two tries to use a
// WebSocket again.
const WATCH = `<script>{
  const transports = window.transports = {sockets: [], most: 0, polls: 0, packets: []};
  const isOpen = it => it.readyState < WebSocket.CLOSING;
  window.WebSocket = class extends window.WebSocket {
    constructor(...args) {
      super(...args);
      transports.sockets.push(this);
      transports.most = Math.max(transports.most, transports.sockets.filter(isOpen).length);
    }
  };
  transports.isSocket = () => transports.sockets.filter(isOpen).length === 1 && /sid=/.test(transports.sockets.at(-1).url);
  const {fetch, setTimeout} = window;
  window.fetch = (url, options) => {
    if (/transport=polling/.test(url)) {
      if (options.body) transports.packets.push(options.body);
      else transports.polls += 1;
    }
    return fetch(url, options);
  };
  window.setTimeout = (callback, time, ...args) => setTimeout(callback, window.quick && time === 10000 ? 100 : time, ...args);
}</script>`;

const behind = websockets => ({websockets, head: WATCH, ready: false});

async function liveList(url = '/note') {
  const list = listAt(url);
  same(await fetched(list), 'success');
  return list;
}

async function isLive(list, note) {
  const before = numbers(list);
  await http('POST', '/note', {n: 'theirs'});
  await becomes(() => numbers(list), [...before, 'theirs']);
  same(await saved(note, {n: 'mine'}), 'success');
  await becomes(() => numbers(list), [...before, 'theirs', 'mine']);
}

// No WebSocket
// ------------
//
// `online` waits for 8 s: a WebSocket that is not answered costs 5 s.

for (const websockets of ['refuse', 'drop', 'hang']) {
  story(`a_page_is_live_where_websockets_${websockets}`, behind(websockets), async () => {
    await online();
    const notes = await liveList();
    await isLive(notes, new Note());
    const {sockets, most, polls, isSocket} = transports;
    same([sockets.length, most, polls > 0, isSocket()], [2, 1, true, false], 'the transports');
  });

  story(`a_page_goes_on_over_a_websocket_after_websockets_${websockets}`, behind(websockets), async () => {
    await online();
    const states = [];
    Backwire.on('status', ({state}) => states.push(state));
    const notes = await liveList();
    window.quick = true;
    await line.allow();
    // Both sides send all the time.
    const mine = [], theirs = [];
    await Promise.all([
      (async () => {
        while (!transports.isSocket()) {
          same(await saved(new Note(), {n: mine.length}), 'success');
          mine.push(mine.length);
        }
      })(),
      (async () => {
        for (let n = 1000; !transports.isSocket(); n++) {
          await http('POST', '/note', {n});
          theirs.push(n);
        }
      })()
    ]);
    const {polls} = transports;
    await settled();
    await isLive(notes, new Note());
    same([transports.most, transports.polls, states], [1, polls, []], 'most sockets, polls and states');
    const all = [...mine, ...theirs, 'mine', 'theirs'].sort();
    same(numbers(notes).sort(), all, 'what the page has');
    same((await http('GET', '/note?limit=10000')).map(it => it.n).sort(), all, 'what the server has');
  });
}

story('a_page_polls_when_its_websocket_ends_and_others_are_refused', {head: WATCH}, async () => {
  const notes = await liveList();
  await line.refuse();
  await line.cut();
  await offline();
  const note = new Note();
  const result = saved(note, {n: 1});
  await line.mend();
  same(await result, 'success');
  await becomes(() => numbers(notes), [1]);
  same([transports.polls > 0, transports.most], [true, 1], 'polls and most sockets');
});

story('a_page_that_leaves_the_network_of_the_proxy_uses_a_websocket_again', behind('refuse'), async () => {
  await online();
  const notes = await liveList();
  await line.allow();
  await line.cut();
  await offline();
  await http('POST', '/note', {n: 1});
  await line.mend();
  await until(() => Backwire.status.state === 'online' && transports.sockets.at(-1).readyState === WebSocket.OPEN, 'a WebSocket');
  await becomes(() => numbers(notes), [1]);
  same(transports.most, 1, 'most sockets');
});

// The connection
// --------------

story('a_page_that_polls_and_disconnects_leaves_no_session', behind('refuse'), async () => {
  await online();
  Backwire.disconnect();
  await until(() => transports.packets.at(-1) === '1', 'the last packet');
  const {polls} = transports;
  await new Promise(resolve => { setTimeout(resolve, 300); });
  same(transports.polls, polls, 'polls');
  Backwire.connect();
  await isLive(await liveList(), new Note());
});

story('a_page_that_polls_finds_a_dead_connection_when_it_is_shown', behind('refuse'), async () => {
  await online();
  const notes = await liveList();
  await line.freeze();
  await http('POST', '/note', {n: 1});
  const {now} = Date, {polls} = transports;
  Date.now = () => now() + 10000;
  window.dispatchEvent(new Event('online'));
  await until(() => transports.polls > polls, 'another session');
  await line.mend();
  await becomes(() => numbers(notes), [1]);
});

story('a_page_that_polls_is_live_again_from_the_back_forward_cache', behind('refuse'), async () => {
  await online();
  const left = await liveList('/left'), pageshows = [];
  window.addEventListener('pageshow', ({persisted}) => pageshows.push(persisted));
  await away();
  await until(() => pageshows.length, 'the page to come back');
  same(pageshows, [true], 'whether the page was restored');
  await until(() => left.length === 1, 'the record that was made on the other page');
  await online();
});

story('large_requests_and_answers_pass_in_pieces', behind('refuse'), async () => {
  await online();
  const notes = await liveList();
  const text = 'é'.repeat(100000);
  const all = [1, 2, 3, 4, 5].map(n => saved(new Note(), {n, text}));
  same(await Promise.all(all), Array(5).fill('success'));
  await becomes(() => numbers(notes), [1, 2, 3, 4, 5]);
  same(await fetched(notes), 'success');
  same(notes.pluck('text').every(it => it === text), true, 'the texts');
});

// Refusals
// --------

const SITES = 'shop: {authUrl: "PAGES/rooms.json", apiKey: "54321", userRoomPrefix: user_}\nclosed: {authUrl: "PAGES/nothing", apiKey: "54321", userRoomPrefix: user_}\n';

story('a_refused_token_ends_the_attempts_of_a_page_that_polls', {
  ...behind('refuse'), sites: SITES, tag: 'data-site="closed" data-token="abc" data-connect="false"'
}, async () => {
  const refused = [];
  Backwire.on('refused', it => refused.push(it));
  Backwire.connect();
  await until(() => refused.length, 'the refusal');
  const {polls} = transports;
  await new Promise(resolve => { setTimeout(resolve, 1500); });
  same([refused.length, transports.polls, Backwire.status.state], [1, polls, 'offline']);
});

// Without WebSockets in the browser.
const NO_SOCKETS = '<script>window.WebSocket = class { constructor() { throw new Error("blocked"); } };</script>';

story('a_page_of_another_site_polls_without_cookies_that_it_may_not_use', {
  host: 'app.example', args: ['--origin', '*'], head: NO_SOCKETS, script: 'src="SERVER/backwire.js"', ready: false
}, async () => {
  await online();
  await isLive(await liveList(`${stories.server}/note`), new (Backbone.Model.extend({urlRoot: `${stories.server}/note`}))());
});

story('a_page_whose_origin_is_refused_is_told_so_without_websockets', {
  host: 'app.example', head: NO_SOCKETS, script: 'src="SERVER/backwire.js"', tag: 'data-connect="false"', ready: false
}, async () => {
  const refused = [];
  Backwire.on('refused', it => refused.push(it));
  Backwire.connect();
  await until(() => refused.length, 'the refusal');
  same(refused[0].reason.split(':')[0], 'E_ORIGIN');
});
