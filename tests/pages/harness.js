// Stories in the page
// -------------------
//
// `story(name, options, ...steps)` defines one. Each step runs after a load of the page and gets
// the result of the previous step. `options`:
// - `config` and `args` of the server
// - `libs`: paths in node_modules
// - `tag`: attributes of Backwire's tag, a list for several steps, `null` for none
// - `script`: the tag's `src`
// - `head` and `tail`: HTML before and after the scripts
// - `sites`: sites of the push service
// - `websockets`: what the line does with WebSockets: allow, refuse, drop or hang
// - `host`: the host name of the page, if the page belongs to another site
// - `ready: false`: the story does not wait until the page is online

const CURRENT = ['underscore/underscore-umd.js', 'jquery/dist/jquery.js', 'backbone/backbone.js'];
const PATIENCE = 8000;

const stories = {
  all: [],

  list() {
    return this.all.map(({name, options, steps}) => {
      const {libs = CURRENT, tag = '', script = 'src="/backwire.js"', ...rest} = options;
      const tags = [tag].flat().map(it => it === null ? '' : `<script ${script} ${it}></script>`);
      return {name, steps: steps.length, libs, tags, ...rest};
    });
  },

  // Starts a step. `next` returns its commands.
  start({name, step, memory, server, seed = null, runs = null}) {
    Object.assign(this, {server, seed, runs});
    const {options, steps} = this.all.find(it => it.name === name);
    this.turns = [];
    const play = async () => {
      if (options.ready !== false) await ready();
      return steps[step](memory);
    };
    play().then(result => this.turn({result: result ?? null}), error => this.turn({error: String(error.stack || error)}));
  },

  // Returns the next command of the story, or its result. `reply` is the result of the last
  // command.
  next(reply) {
    if (this.isAsked) this.answer(reply);
    this.isAsked = false;
    return new Promise(resolve => {
      this.wake = resolve;
      this.flush();
    });
  },

  turn(turn) {
    this.turns.push(turn);
    this.flush();
  },

  flush() {
    if (!this.wake || !this.turns.length) return;
    const wake = this.wake;
    this.wake = null;
    const turn = this.turns.shift();
    this.isAsked = Boolean(turn.command);
    wake(turn);
  },

  ask(command) {
    return new Promise(resolve => {
      this.answer = resolve;
      this.turn({command});
    });
  }
};

function story(name, options, ...steps) {
  if (typeof options === 'function') return story(name, {}, options, ...steps);
  stories.all.push({name, options, steps});
}

// A page with `data-connect="false"` in its tag stays offline.
async function ready() {
  if (window.Backwire && !document.querySelector('script[data-connect=false]')) await online();
}

// The world of the story
// ----------------------

// Sends a request of another client, which does not use the page's line.
async function http(method, path, body) {
  const response = await fetch(stories.server + path, {
    method, headers: {'content-type': 'application/json'}, body: body && JSON.stringify(body)
  });
  return response.json().catch(() => null);
}

// `allow`, `refuse`, `drop` and `hang` are about WebSockets that are opened from now on.
const line = Object.fromEntries(['cut', 'mend', 'freeze', 'deafen', 'allow', 'refuse', 'drop', 'hang'].map(name => [name, () => stories.ask(name)]));
const server = Object.fromEntries(['kill', 'start', 'log'].map(name => [name, () => stories.ask(name)]));
// Leaves the page for another one, which makes a record of `/left`, and returns by the back button.
const away = () => stories.ask('leave');
// Returns the messages on the page's console since the last call.
const consoleLines = () => stories.ask('console');

const online = () => until(() => Backwire.status.state === 'online', 'the page to be online');
const offline = () => until(() => Backwire.status.state !== 'online', 'the page to be offline');

// Waiting and comparing
// ---------------------

async function until(isTrue, what = String(isTrue)) {
  const end = performance.now() + PATIENCE;
  for (;;) {
    const value = await isTrue();
    if (value) return value;
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise(resolve => { setTimeout(resolve, 5); });
  }
}

function same(actual, expected, what = '') {
  const [left, right] = [actual, expected].map(it => JSON.stringify(it) ?? 'undefined');
  if (left !== right) throw new Error(`${what} is ${left} and not ${right}`);
}

// Waits until a value is as expected, and checks that it is the same after all news has arrived.
async function becomes(value, expected, what = String(value)) {
  const text = JSON.stringify(expected);
  try {
    await until(() => JSON.stringify(value()) === text);
  } catch {
    same(value(), expected, what);
  }
  await settled();
  same(value(), expected, `${what} when all has arrived`);
}

// Waits until all writes of the page are answered. Writes are sent in order, and this is the last.
async function flushed() {
  await online();
  same(await saved(new (Backbone.Model.extend({urlRoot: '/last'}))(), {last: true}), 'success', 'the last write');
}

// Waits until all earlier events have reached the page: it then gets a later change of a record.
async function settled(rounds = 3) {
  const Beat = Backbone.Model.extend({urlRoot: '/heartbeat'});
  settled.beat ??= await http('POST', '/heartbeat', {count: 0});
  const beat = new Beat({id: settled.beat.id});
  for (let round = 0; round < rounds; round++) {
    await new Promise((success, error) => beat.fetch({success, error: () => error(new Error('no heartbeat'))}));
    const count = beat.get('count') + 1;
    await http('PATCH', `/heartbeat/${beat.id}`, {count});
    await until(() => beat.get('count') >= count, 'the heartbeat');
    await new Promise(resolve => { setTimeout(resolve); });
  }
  Backwire.stop?.(beat);
}

// Calls and their callbacks
// -------------------------

// Returns options that record each call of a callback. `ended` is a promise of the first call.
function callbacks(options = {}) {
  const calls = [];
  let end;
  const ended = new Promise(resolve => { end = resolve; });
  return {
    ...options,
    calls,
    ended,
    success(...args) {
      calls.push('success');
      end(['success', ...args]);
    },
    error(model, reply) {
      calls.push(`error ${(reply?.status ?? model?.status)}`);
      end(['error', model, reply]);
    }
  };
}

// Makes a call that takes callbacks, and waits for one of them.
async function done(call) {
  const options = callbacks();
  call(options);
  const timer = new Promise((_, reject) => { setTimeout(reject, PATIENCE, new Error('no callback: ' + call)); });
  await Promise.race([options.ended, timer]);
  return options.calls.join();
}

const fetched = (target, options) => done(it => target.fetch({...options, ...it}));
const saved = (model, attrs, options) => done(it => model.save(attrs, {...options, ...it}));

// Records the events of a target in a short form.
function traced(target, names = 'add remove update sort reset sync destroy error invalid') {
  const events = [];
  target.on('all', (name, first) => {
    if (names.split(' ').includes(name)) events.push(name + (first?.get && !first.models ? ` ${first.get('n') ?? first.id}` : ''));
  });
  return events;
}
