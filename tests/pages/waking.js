// A page that was hidden, stopped or asleep is live again at once.

const listAt = url => new (Backbone.Collection.extend({url}))();
const numbers = list => list.pluck('n');

// Counts the sockets that the page opens from now on.
function countSockets() {
  const sockets = [];
  window.WebSocket = class extends window.WebSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
    }
  };
  return sockets;
}

// Counts the attempts to connect from now on, while the line is cut. Every second attempt would
// poll, and cannot load its part.
function countAttempts() {
  const sockets = countSockets(), failed = new Set();
  const scripts = () => [...document.querySelectorAll('script[src*="backwire.polling"]')];
  document.addEventListener('error', ({target}) => failed.add(target), true);
  return {
    count: () => sockets.length + scripts().length,
    isPausing: () => sockets.every(it => it.readyState === WebSocket.CLOSED) && scripts().every(it => failed.has(it))
  };
}

// Sets the clock of the page forward, as a sleep of the device does. Timers do not fire earlier.
function sleep(milliseconds) {
  const {now} = Date;
  Date.now = () => now() + milliseconds;
}

// Tells the page that its tab is hidden or shown.
function show(isVisible) {
  Object.defineProperty(document, 'hidden', {value: !isVisible, configurable: true});
  document.dispatchEvent(new Event('visibilitychange', {bubbles: true}));
}

async function liveList(url = '/note') {
  const list = listAt(url);
  same(await fetched(list), 'success');
  return list;
}

// Networks that fail without a sign
// ---------------------------------

for (const [name, wake] of [
  ['shown_again', () => { show(false); show(true); }],
  ['online_again', () => window.dispatchEvent(new Event('online'))]
]) {
  story(`a_page_that_is_${name}_finds_a_dead_connection_within_three_seconds`, async () => {
    const notes = await liveList();
    const sockets = countSockets();
    await line.freeze();
    await http('POST', '/note', {n: 1});
    sleep(10000);
    wake();
    const begin = performance.now();
    await until(() => sockets.length, 'a second socket');
    same(performance.now() - begin > 2900, true, 'the server has three seconds for an answer');
    await line.mend();
    await becomes(() => numbers(notes), [1]);
    same(sockets.length, 1, 'sockets');
  });
}

story('a_page_that_is_shown_again_keeps_a_connection_that_works', async () => {
  const notes = await liveList();
  const states = [];
  Backwire.on('status', ({state}) => states.push(state));
  const sockets = countSockets();
  for (const seconds of [10, 20]) {
    sleep(seconds * 1000);
    show(false);
    show(true);
    await settled();
  }
  // This is longer than the server has to answer.
  await new Promise(resolve => { setTimeout(resolve, 3500); });
  await http('POST', '/note', {n: 1});
  await becomes(() => numbers(notes), [1]);
  same([sockets.length, states], [0, []], 'sockets and states');
});

story('a_page_that_waits_to_reconnect_does_so_at_once_when_it_is_shown', async () => {
  const notes = await liveList();
  const {count, isPausing} = countAttempts();
  await line.cut();
  show(false);
  await until(() => count() && isPausing(), 'a pause between attempts');
  const before = count();
  show(true);
  same(count(), before + 1, 'attempts');
  await http('POST', '/note', {n: 1});
  await line.mend();
  await becomes(() => numbers(notes), [1]);
});

// Sleep
// -----

story('a_write_after_a_long_sleep_is_sent_at_once', async () => {
  const note = new (Backbone.Model.extend({urlRoot: '/note'}))();
  const sockets = countSockets();
  await line.freeze();
  sleep(8 * 3600 * 1000);
  const result = saved(note, {n: 1});
  await until(() => sockets.length, 'a second socket');
  await line.mend();
  same(await result, 'success');
  same((await http('GET', '/note')).length, 1, 'records');
});

// The back-forward cache
// ----------------------

story('a_page_from_the_back_forward_cache_is_live_again', async () => {
  const left = await liveList('/left');
  const sockets = countSockets(), pageshows = [];
  window.addEventListener('pageshow', ({persisted}) => pageshows.push(persisted));
  await away();
  await until(() => pageshows.length, 'the page to come back');
  same(pageshows, [true], 'whether the page was restored');
  await until(() => left.length === 1, 'the record that was made on the other page');
  await online();
  same(sockets.length, 1, 'sockets');
});

story('a_page_in_the_back_forward_cache_keeps_its_unsent_writes', async () => {
  const note = new (Backbone.Model.extend({urlRoot: '/note'}))();
  let isBack = false;
  window.addEventListener('pageshow', () => { isBack = true; });
  Backwire.disconnect();
  const result = saved(note, {n: 1});
  await away();
  await until(() => isBack, 'the page to come back');
  same(Backwire.status, {state: 'offline', unsent: 1});
  Backwire.connect();
  same(await result, 'success');
  same((await http('GET', '/note')).length, 1, 'records');
});
