// Tokens, users and tabs: no write is sent for another user, or by two tabs.

const SITES = 'shop: {authUrl: "PAGES/rooms.json", apiKey: "54321", userRoomPrefix: user_}\n';
const records = async () => (await http('GET', '/note')).map(it => it.n);
const Note = Backbone.Model.extend({urlRoot: '/note'});

// A script that records the frames of this page and its frames, in the top one.
const RECORD = `<script>{
  const {send} = WebSocket.prototype;
  if (window.top === window) window.sent = [];
  WebSocket.prototype.send = function(frame) {
    window.top.sent.push(frame);
    return send.call(this, frame);
  };
  // After a fault the page may poll.
  const {fetch} = window;
  window.fetch = (url, options) => {
    if (/transport=polling/.test(url) && options.body) window.top.sent.push(...options.body.split('\\x1e'));
    return fetch(url, options);
  };
}</script>`;
const WITHOUT_LOCKS = '<script>delete Navigator.prototype.locks</script>';

// The tokens of all CONNECTs, and the values of all creates.
const tokens = () => sent.filter(it => it.startsWith('40')).map(it => JSON.parse(it.slice(2)).token);
const creates = () => sent.filter(it => /^42\d+\["post",/.test(it)).map(it => JSON.parse(it.replace(/^\d+/, ''))[1].data.n);

async function goOffline() {
  Backwire.disconnect();
  await offline();
}

// Tokens
// ------

const OPTIONS = {sites: SITES, head: RECORD, tag: 'data-connect="false"'};

story('a_token_function_is_called_before_each_connect', OPTIONS, async () => {
  let count = 0;
  const token = async () => {
    await new Promise(resolve => { setTimeout(resolve, 20); });
    return `token ${count += 1}`;
  };
  Backwire.install(Backbone, {site: 'shop', token});
  await online();
  await line.cut();
  await offline();
  await line.mend();
  await online();
  same(tokens(), ['token 1', 'token 2']);
  same(await saved(new Note(), {n: 1}), 'success');
});

story('a_token_function_that_fails_at_first_is_called_again', OPTIONS, async () => {
  let count = 0;
  Backwire.install(Backbone, {site: 'shop', token() {
    if ((count += 1) < 3) throw new Error('not yet');
    return 'abc';
  }});
  await online();
  same([tokens(), count], [['abc'], 3]);
});

// Answers the next create with 401, after the server has executed it.
function refuseNextCreate() {
  const {set, get} = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
  let isRefusing = true;
  Object.defineProperty(WebSocket.prototype, 'onmessage', {configurable: true, get, set(handle) {
    set.call(this, handle && (event => {
      const isCreated = isRefusing && /^43\d+\[.*"statusCode":201/.test(event.data);
      isRefusing &&= !isCreated;
      handle(isCreated ? {data: event.data.replace(/\[.*/, '[{"statusCode":401,"body":{}}]')} : event);
    }));
  }});
}

story('a_waiting_write_that_is_answered_401_goes_on_with_a_new_token', OPTIONS, async () => {
  Backwire.install(Backbone, {site: 'shop', token: 'old'});
  let count = 0;
  Backwire.on('unauthorized', () => {
    count += 1;
    Backwire.connect({token: 'new'});
  });
  await online();
  await goOffline();
  const result = saved(new Note(), {n: 1});
  refuseNextCreate();
  Backwire.connect();
  same(await result, 'success');
  same([count, tokens(), await records()], [1, ['old', 'old', 'new'], [1]]);
});

story('a_waiting_write_that_is_answered_401_calls_the_token_function', OPTIONS, async () => {
  const left = ['first', 'old', 'new'], {now} = Date;
  Backwire.install(Backbone, {site: 'shop', token: () => left.shift()});
  let count = 0;
  Backwire.on('unauthorized', () => { count += 1; });
  await online();
  await goOffline();
  const result = saved(new Note(), {n: 1});
  refuseNextCreate();
  // The page has connected with its token some time ago.
  Backwire.on('status', ({state}) => { if (state === 'online') Date.now = () => now() + 20000; });
  Backwire.connect();
  same(await result, 'success');
  same([count, tokens(), await records()], [1, ['first', 'old', 'new'], [1]]);
});

// Users
// -----

story('writes_of_a_former_user_wait_for_that_user', OPTIONS, async () => {
  Backwire.install(Backbone, {site: 'shop', token: 'of ann', identity: 'ann'});
  await online();
  await goOffline();
  const ended = saved(new Note(), {n: 'of ann'});
  Backwire.connect({identity: 'bob', token: 'of bob'});
  same(await ended, 'error 0');
  await online();
  same(await saved(new Note(), {n: 'of bob'}), 'success');
  await settled();
  same([tokens().at(-1), creates().filter(it => it), await records()], ['of bob', ['of bob'], ['of bob']]);
  Backwire.connect({identity: 'ann', token: 'of ann'});
  await until(async () => (await records()).length === 2, 'the write of the first user');
  same([tokens().at(-1), creates().filter(it => it)], ['of ann', ['of bob', 'of ann']]);
});

// Tabs
// ----

// Opens this page once more, in a frame, and waits until Backwire is there. Its connection, storage
// and locks are those of another tab.
async function openTab() {
  const frame = document.body.appendChild(document.createElement('iframe'));
  frame.src = location.href;
  await until(() => frame.contentWindow.Backwire && frame.contentDocument.readyState === 'complete', 'the other tab');
  return frame;
}

async function keepWrites() {
  for (const n of [1, 2]) new Note().save({n});
  await until(() => Object.keys(localStorage).length === 2, 'the writes to be kept');
}

const keptCount = () => Object.keys(localStorage).filter(name => name.startsWith('backwire ')).length;

story('two_tabs_send_each_kept_write_once', {head: RECORD, tag: 'data-connect="false"'}, keepWrites, async () => {
  const tab = await openTab();
  Backwire.connect();
  tab.contentWindow.Backwire.connect();
  await until(() => keptCount() === 0, 'the answers');
  await settled();
  same([creates().filter(n => n).sort(), await records()], [[1, 2], [1, 2]]);
});

story('a_tab_sends_the_kept_writes_of_a_tab_that_was_closed', {head: RECORD, tag: 'data-connect="false"'}, keepWrites, async () => {
  Backwire.uninstall();
  const [first, second] = [await openTab(), await openTab()];
  second.contentWindow.Backwire.connect();
  await until(() => second.contentWindow.Backwire.status.state === 'online', 'the second tab to be online');
  same([creates(), keptCount()], [[], 2]);
  first.remove();
  await until(() => keptCount() === 0, 'the answers');
  same([creates(), await records()], [[1, 2], [1, 2]]);
});

story('without_web_locks_two_tabs_make_each_record_once', {head: RECORD + WITHOUT_LOCKS, tag: 'data-connect="false"'}, keepWrites, async () => {
  const tab = await openTab();
  Backwire.connect();
  tab.contentWindow.Backwire.connect();
  await until(() => keptCount() === 0, 'the answers');
  await settled();
  same([creates().filter(n => n).sort(), await records()], [[1, 1, 2, 2], [1, 2]]);
});
