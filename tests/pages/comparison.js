// Backbone over ajax and Backwire do the same
// -------------------------------------------
//
// A random program of Backbone calls runs in two frames: one with plain Backbone over jQuery's
// ajax, the other with Backwire. The page must observe the same in both: callbacks with their
// arguments, events, return values, global ajax events, and in the end the records of the server.
//
// Intended differences are left out: live events, which have `realtime: true`, the order of lists,
// times, and headers other than the content type. No read is sent while a write is in flight, and
// each call is answered before the next one. Writes may be sent as a PATCH, which the page cannot
// observe. The seeds are printed.

const PROGRAM_LENGTH = 30;
const STRICT = Array.from({length: 400}, (_, index) => ['plain', 'live'].map(side =>
  `    strict${index}${side}: {attributes: {n: {type: number, required: true}, text: {type: string}}}\n`).join('')).join('');
const CONFIG = `production:\n  limits: {undeclared_resources_per_address: 1000}\n  resources:\n${STRICT}`;

// Frames
// ------

// Opens a separate page with these scripts.
function frame(scripts) {
  const element = document.body.appendChild(document.createElement('iframe'));
  const {contentDocument, contentWindow} = element;
  contentDocument.open();
  contentDocument.write(`<!doctype html><meta charset="utf-8">${MODULE}<body>${scripts}`);
  contentDocument.close();
  return contentWindow;
}

async function frames(libs) {
  const scripts = libs.map(path => `<script src="/npm/${path}"></script>`).join('');
  const plain = frame(scripts);
  const live = frame(`${scripts}<script src="/backwire.js" data-url="/"></script>`);
  await until(() => plain.Backbone && live.Backwire?.status.state === 'online', 'both frames');
  return {plain, live};
}

// Programs
// --------

// Returns one step: a call, its target and its options. Numbers identify models, the same in both
// frames.
function program(random) {
  const emulate = random.chance(0.15) ? random.pick(['HTTP', 'JSON', 'both']) : null;
  const steps = [{call: 'set up', emulate, header: random.chance(0.2), own: random.chance(0.2)}];
  while (steps.length < PROGRAM_LENGTH) steps.push(step(random));
  return steps;
}

const ATTRS = [{n: 1}, {n: 2, text: 'b'}, {text: 'c'}, {n: 3, list: [1, {a: 2}]}, {n: null}, {text: ''}, {n: 4, text: 'ä€😀'}, {}];
// Live lists follow their queries, so each query is read into a separate collection.
const QUERIES = [{sort: 'n'}, {limit: 2}, {sort: 'n DESC', skip: 1}, {n: 1}, {limit: 'many'}, {where: '{"n":{">":1}}'}, {where: '{oops'}];
const BAD = [{n: 'no number'}, {n: [1]}, {text: 'n is missing'}];

// Settings of jQuery's ajax, and its hooks with what they do.
const AJAX = [
  {cache: false}, {global: false}, {processData: false}, {crossDomain: true}, {xhrFields: {withCredentials: true}}, {mimeType: 'text/plain'},
  {async: false}, {ifModified: true}, {username: 'ann', password: 'secret'}, {accepts: {json: 'application/json'}}, {traditional: true}, {type: 'PATCH'},
  ...['xhr', 'statusCode', 'context', 'dataFilter', 'converters', 'form', 'json'].map(hook => ({hook})),
  ...['prefilter', 'beforeSend', 'ajaxSend'].flatMap(hook => ['url', 'query', 'data', 'type', 'header', 'mime', 'abort', 'throw'].map(does => ({hook, does})))
];
// Functions of the app that may throw during a call, before its request is sent: those of its
// models, and a factory. `js-shim/test/throwing-app.test.js` has those that throw after that.
const THROWING = ['url', 'toJSON', 'validate', 'xhr'];

function step(random) {
  const attrs = random.chance(0.12) ? random.pick(BAD) : random.pick(ATTRS);
  const some = (part, options) => (random.chance(part) ? options : {});
  const options = {
    ...some(0.2, {wait: true}), ...some(0.1, {silent: true}), ...some(0.08, {refuse: true}),
    ...some(0.1, {headers: {'X-Own': 'yes'}}), ...some(0.08, {dataType: 'json'}), ...some(0.1, {noCallbacks: true}),
    ...some(0.05, {contentType: 'application/json; charset=utf-8'}), ...some(0.05, {timeout: 60000}), ...some(0.05, {validate: false}),
    ...some(0.08, {throws: random.pick(THROWING)}),
    ...some(0.3, {ajax: random.chance(0.3) ? [random.pick(AJAX), random.pick(AJAX)] : [random.pick(AJAX)]})
  };
  // Backbone 0.9 validates again after it has sent such a save.
  if (options.wait && options.throws === 'validate') delete options.throws;
  const model = random.below(6);
  return random.pick([
    () => ({call: 'create', attrs, options: {...counted(options), ...some(0.2, {at: 0}), ...some(0.1, {merge: true})}}),
    () => ({call: 'create', attrs, options: {...counted(options), ...some(0.2, {at: 0}), ...some(0.1, {invalid: true})}}),
    () => ({call: 'save', model, attrs, options: {...options, ...some(0.3, {patch: true}), ...some(0.1, {invalid: true})}}),
    () => ({call: 'save', model, attrs, options: {...options, ...some(0.1, {attrs: {n: 9}})}}),
    () => ({call: 'save', model, attrs: random.chance(0.3) ? null : attrs, options}),
    () => ({call: 'destroy', model, options}),
    () => ({call: 'fetch', model, options: {...options, ...some(0.2, {abort: true})}}),
    () => ({call: 'fetchAll', options: {...whole(options), ...some(0.3, {reset: true}), ...some(0.2, {remove: false}), ...some(0.2, {abort: true}),
      ...some(0.15, {add: true, update: true})}}),
    () => ({call: 'list', what: 'fetch', options: {...options, data: random.pick(QUERIES)}}),
    () => ({call: 'single', what: random.pick(['save', 'save', 'fetch', 'destroy']), model: random.below(3), attrs, strict: random.chance(0.4),
      options: {...options, ...some(0.2, {key: random.pick(['a', 'b'])}), ...some(0.2, {elsewhere: true})}}),
    () => ({call: 'unknown', what: random.pick(['save', 'fetch', 'destroy']), attrs, options}),
    () => ({call: 'sync', what: random.pick(['create', 'update', 'patch', 'read']), model, attrs,
      options: {...some(0.3, {attrs: {n: 8}}), ...some(0.3, {dataType: 'text'}), ...some(0.2, {elsewhere: true})}}),
    () => ({call: 'save', what: 'save', model, attrs, then: random.pick(['save', 'fetch', 'destroy']), options}),
    () => ({call: 'pair', first: {call: 'create', attrs, options: {}}, second: {call: 'single', what: 'save', model: 0, attrs, options: {}}}),
    () => ({call: 'set', model, attrs}),
    () => ({call: 'no url', what: random.pick(['save', 'fetch'])})
  ])();
}

// A call that returns no xhr is awaited by jQuery's counter of requests.
// If its answer is from another resource, the list has two models with one id.
const counted = options => withoutAjax(options, it => it.global === false || it.does === 'url');
// A live list follows the url from which it was read.
const whole = options => withoutAjax(options, it => /url|query|form/.test([it.does, it.hook]));

function withoutAjax({ajax, ...options}, isLeftOut) {
  return ajax ? {...options, ajax: ajax.filter(it => !isLeftOut(it))} : options;
}

// Running
// -------

let run = 0;
let lastStep = 0;
let keys = 0;

// One side of a program: its frame, and everything that the page has observed.
class Side {
  constructor(window, name, number) {
    Object.assign(this, {window, name: `note${number}${name}`, strict: `strict${number % 400}${name}`, trace: [], singles: {}, stale: []});
    const {Backbone} = window;
    // Backbone 0.5 does not parse the models of a list, but Backwire parses what it sets on them.
    const parsed = Backbone.VERSION === '0.5.3' ? {} : {parsed: true};
    const trip = name => { if (this.throwing === name) throw new Error(`of ${name}`); };
    const Model = this.Model = Backbone.Model.extend({
      validate(attrs) {
        trip('validate');
        return attrs.text === 'invalid' ? 'is invalid' : undefined;
      },
      url() {
        trip('url');
        return Backbone.Model.prototype.url.call(this);
      },
      parse: answer => (answer && typeof answer === 'object' ? {...answer, ...parsed} : answer),
      toJSON() {
        trip('toJSON');
        return omit(this.attributes, 'parsed', 'createdAt', 'updatedAt');
      }
    });
    this.notes = new (Backbone.Collection.extend({url: `/${this.name}`, model: Model}))();
    this.listen(this.notes, 'notes');
  }

  note(...what) {
    this.trace.push(JSON.stringify(what, (key, value) => (value === undefined ? null : value)).replace(/(note|strict)\d+(plain|live)/g, '$1')
      .replace(/"(created|updated)At\\?":\d+,?/g, '').replace(/\\"(created|updated)At\\":\d+,?/g, '').replace(/,(\\?["}])?}/g, '$1}'));
  }

  listen(target, name) {
    (target.on || target.bind).call(target, 'all', (event, first, ...rest) => {
      const options = rest.at(-1);
      if (options?.realtime || /^change:(created|updated)At$/.test(event)) return;
      this.note('event', name, event, this.named(first), this.named(rest[0]), options?.add ?? null);
    });
  }

  named(it) {
    if (it?.attributes) return ['model', it.id ?? null, it.get('n') ?? null];
    if (it?.models) return ['list', it.length];
    if (typeof it?.getResponseHeader === 'function') return 'xhr';
    if (typeof it === 'function') return 'function';
    return it === undefined || it === null ? null : typeof it === 'object' ? (Array.isArray(it) ? ['array', it.length] : 'object') : it;
  }

  // Returns the properties of an xhr.
  shown(xhr) {
    if (!xhr || typeof xhr !== 'object') return xhr;
    const type = xhr.status ? xhr.getResponseHeader('content-type') : null;
    return [xhr.status, xhr.statusText, xhr.readyState, xhr.state?.(), type, this.body(xhr.responseText)];
  }

  body(text) {
    try {
      return omit(JSON.parse(text), 'createdAt', 'updatedAt', 'message');
    } catch {
      return text ?? null;
    }
  }

  async step(step) {
    if (step.call === 'set up') return this.setUp(step);
    if (step.call === 'pair') return this.pair(step);
    const target = this.target(step);
    if (!target) return this.note('no such model');
    if (step.call === 'list') this.refreshStale();
    if (step.call === 'set') {
      target.set(step.attrs);
      return this.note('set', target.attributes.n);
    }
    const options = this.options(step, target);
    let result;
    this.throwing = step.options?.throws;
    try {
      result = this.call(step, target, options);
    } catch (error) {
      this.note('threw', error.message);
      this.isAborting = true;
      return this.idle();
    } finally {
      this.throwing = null;
    }
    this.note('returned', result === false ? false : result?.attributes ? 'model' : typeof result, options.xhr === result);
    const xhr = result?.attributes ? options.xhr : result;
    if (!xhr || typeof xhr !== 'object') return this.idle();
    this.note('before', xhr.readyState, xhr.state?.());
    xhr.done?.((...args) => this.note('done', args.length, args[1], args[2] === xhr)).fail?.((...args) => this.note('fail', args.length, args[1], args[2], args[0] === xhr));
    if (step.options.abort) xhr.abort();
    const settled = new Promise(resolve => { xhr.always(() => resolve()); });
    await Promise.race([settled, new Promise((_, reject) => { setTimeout(reject, 6000, new Error('a call is not answered')); })])
      .catch(error => this.note(error.message));
    await this.idle();
    this.note('settled', ...this.shown(xhr));
    if (step.call === 'sync' && xhr.status < 300 && !step.options.elsewhere) this.stale.push([target, JSON.parse(xhr.responseText)]);
    if (step.call === 'list') this.window.Backwire?.stop(target);
    this.note('now', target.models ? target.length : omit(target.attributes, 'createdAt', 'updatedAt'), target.changedAttributes?.() === false);
  }

  // Sets the answers that `Backbone.sync` alone has got: it leaves the model as it is. A list that
  // is fetched after that changes no other model in plain Backbone, but all models of the record in
  // Backwire, also their times. The second `set` leaves no changed attributes.
  refreshStale() {
    for (const [model, record] of this.stale.splice(0)) {
      if (record.id === model.id && record.updatedAt > model.get('updatedAt')) model.set(model.parse(record), {realtime: true});
      model.set({}, {silent: true});
    }
  }

  // Makes two calls at once. The effects of each call have an order; those of both have none.
  async pair({first, second}) {
    const from = this.trace.length;
    await Promise.all([this.step(first), this.step(second)]);
    this.trace.push(...this.trace.splice(from).filter(it => !/"(global|now)"/.test(it)).sort());
  }

  // Also waits for requests whose xhr the page does not get, and for what Backbone defers: it uses
  // a timer of the frame with 1 ms, and such timers fire in the order of their calls.
  async idle() {
    const {jQuery} = this.window;
    await until(() => this.chained?.readyState !== 1, 'the chained call to be over');
    if (this.isAborting) {
      // Some versions of jQuery go on to count a request if a hook has aborted it or has thrown.
      this.note('active', jQuery.active);
      jQuery.active = 0;
    }
    await until(() => jQuery.active === 0, 'all requests to be over');
    await new Promise(resolve => { this.window.setTimeout(resolve, 1); });
    this.note('now', this.numbers());
  }

  numbers() {
    return this.notes.map(model => JSON.stringify([model.id ?? null, model.get('n') ?? null])).sort();
  }

  setUp({emulate, header, own}) {
    const {Backbone, jQuery: $} = this.window;
    Backbone.emulateHTTP = emulate === 'HTTP' || emulate === 'both';
    Backbone.emulateJSON = emulate === 'JSON' || emulate === 'both';
    $.ajaxSettings.headers = header ? {'X-Setup': 'yes'} : {};
    this.window.ajax ??= Backbone.ajax;
    if (Backbone.ajax) Backbone.ajax = own ? settings => {
      this.note('ajax', settings.type, settings.url, settings.contentType ?? null, settings.dataType ?? null, this.sent(settings.data));
      return this.window.ajax.call(Backbone, settings);
    } : this.window.ajax;
    const {document} = this.window;
    const page = $(document);
    page.unbind('.trace');
    for (const name of ['Start', 'Send', 'Success', 'Error', 'Complete', 'Stop']) {
      page.bind(`ajax${name}.trace`, (event, xhr, settings) => this.note('global', name, settings?.type ?? null, settings?.url.replace(/_=\d+/, '_=') ?? null));
    }
    page.bind('ajaxSend.trace', (event, xhr, settings) => this.hooks.ajaxSend?.(xhr, settings));
    this.hooks = {};
    if (!this.window.side) $.ajaxPrefilter((settings, original, xhr) => this.window.side.hooks.prefilter?.(xhr, settings));
    this.window.side = this;
  }

  sent(data) {
    return typeof data === 'string' ? data : data ?? null;
  }

  target({call, what = call, model, strict}) {
    const {Backbone} = this.window;
    if (call === 'fetchAll' || call === 'create') return this.notes;
    if (call === 'unknown') return new (this.Model.extend({urlRoot: `/${this.name}`}))({id: 9999, n: 1});
    if (call === 'no url') return new this.Model({n: 1});
    if (call === 'list') return new (this.notes.constructor)();
    if (call !== 'single') return this.member(call === 'sync' ? 'read' : what, model);
    const key = `${strict}${model}`;
    if (!this.singles[key]) {
      this.singles[key] = new (this.Model.extend({urlRoot: `/${strict ? this.strict : `${this.name}-single`}`}))();
      this.listen(this.singles[key], `single ${key}`);
    }
    return this.singles[key];
  }

  // A new model would read the url of its list, which is not its own. After a `Backbone.sync` that
  // creates its record, a live list has the record, and the model still has no id.
  member(what, number) {
    const models = this.notes.filter(it => !/fetch|read/.test(what) || !it.isNew());
    return models.sort((one, other) => (one.id ?? 1e9) - (other.id ?? 1e9))[number % (models.length || 1)];
  }

  options({options = {}, then, attrs}, target) {
    const {refuse, key, elsewhere, noCallbacks, abort, invalid, throws, ajax = [], ...own} = JSON.parse(JSON.stringify(options));
    const {VERSION, emulateJSON} = this.window.Backbone;
    if (emulateJSON) delete own.contentType;
    // Backbone 0.5 adds a record again that the collection has already.
    if (VERSION === '0.5.3') delete own.add;
    if (this.hasUnknownId(target)) this.replaceAll(own);
    this.hooks = {};
    // The last setting of a hook counts.
    this.isAborting = ajax.some(({hook, does}) => does === 'abort' && ajax.findLast(it => it.hook === hook).does === does);
    for (const setting of ajax) this.applySetting(own, setting, target);
    if (throws === 'xhr') own.xhr = () => { throw new Error('of xhr'); };
    if (key) own.headers = {'Idempotency-Key': `${this.name}-${key}`};
    if (elsewhere) own.url = `/${this.name}-elsewhere`;
    if (own.dataType === 'text') own.success = text => this.note('text', typeof text, this.body(text));
    if (refuse || this.hooks.beforeSend) own.beforeSend = (xhr, settings) => {
      this.hooks.beforeSend?.(xhr, settings);
      return refuse ? false : undefined;
    };
    if (noCallbacks || own.dataType === 'text') return own;
    const names = ['success', 'error'];
    for (const name of names) {
      const side = this;
      own[name] = function(...args) {
        side.note('callback', name, args.length, side.named(args[0]), side.named(args[1]), args[2] === own || side.named(args[2]), Boolean(this?.isContext));
      };
    }
    if (then) this.chain(own, then, target);
    own.complete = (xhr, text) => this.note('complete', text);
    return own;
  }

  // Whether a model of a collection got its id silently, so that the collection does not know it.
  hasUnknownId(target) {
    return target.models?.some(model => model.id != null && target.get(model.id) !== model);
  }

  // Backbone would add the record of such a model again, and then Backwire updates both models. It
  // would also remove the last model of the list, which may differ: the order is not compared.
  replaceAll(own) {
    for (const name of ['add', 'update', 'remove']) delete own[name];
    own.reset = true;
  }

  // Sets an option, or one of jQuery's hooks.
  applySetting(own, {hook, does, ...settings}, target) {
    Object.assign(own, settings);
    // If its answer is from another resource, the list has two models with one id.
    if (does === 'url' && target.isNew?.() && target.collection) return;
    if (does) return void (this.hooks[hook] = (xhr, called) => this.change(does, xhr, called));
    const statuses = [200, 201, 304, 400, 404, 422];
    const hooks = {
      xhr: () => ({xhr: () => {
        this.note('made an xhr');
        return new this.window.XMLHttpRequest();
      }}),
      statusCode: () => ({statusCode: Object.fromEntries(statuses.map(status => [status, () => this.note('status code', status)]))}),
      context: () => ({context: {isContext: true}}),
      dataFilter: () => ({dataFilter: (text, type) => {
        this.note('filter', typeof text, type);
        return text;
      }}),
      converters: () => ({converters: {'text json': text => {
        this.note('convert');
        return JSON.parse(text);
      }}}),
      form: () => ({contentType: 'application/x-www-form-urlencoded', data: {n: 5, text: 'a form'}, processData: true}),
      json: () => ({contentType: 'application/json', data: '{"n":6}'})
    };
    Object.assign(own, hooks[hook]?.());
  }

  // A hook changes a request.
  change(does, xhr, settings) {
    if (does === 'url') settings.url = settings.url.replace(this.name, `${this.name}-elsewhere`);
    if (does === 'query') settings.url += `${settings.url.includes('?') ? '&' : '?'}limit=1`;
    if (does === 'data' && /^\{/.test(settings.data)) settings.data = JSON.stringify({...JSON.parse(settings.data), text: 'changed'});
    if (does === 'type' && settings.type === 'PUT') settings.type = 'PATCH';
    // Each create and destroy has another key. A live list shows a record once, although two
    // creates got it, and again if its destroy is refused because of the key of another request.
    if (does === 'header') xhr.setRequestHeader('Idempotency-Key', `${this.name}-header${/POST|DELETE/.test(settings.type) ? ++keys : ''}`);
    if (does === 'mime') xhr.overrideMimeType('text/plain');
    if (does === 'abort') xhr.abort();
    if (does === 'throw') throw new Error('of a hook');
  }

  // Returns a success handler that makes another call on the model.
  chain(options, then, target) {
    const {success} = options;
    options.success = (...args) => {
      success(...args);
      this.note('then', then);
      const settings = {success: () => this.note(`then ${then}`), error: () => this.note(`then no ${then}`)};
      try {
        this.chained = then === 'save' ? target.save({n: 77}, settings) : target[then](settings);
      } catch (error) {
        this.note('then threw', error.message);
        this.isAborting = true;
      }
    };
  }

  call({call, what = call, attrs, options: {invalid} = {}}, target, options) {
    const given = attrs && {...JSON.parse(JSON.stringify(attrs)), ...invalid && {text: 'invalid'}};
    if (call === 'create') return target.create(given, options);
    if (call === 'sync') return this.sync(what, target, what === 'patch' ? {attrs: given, ...options} : options);
    if (what === 'save') return target.save(given, options);
    if (what === 'destroy') return target.destroy(options);
    return target.fetch(options);
  }

  // Models have a `sync`, and `sync` knows "patch", since 0.9.9.
  sync(what, target, options) {
    if (target.sync) return target.sync(what, target, options);
    return this.window.Backbone.sync.call(target, what === 'patch' ? 'update' : what, target, options);
  }

  // Returns the records of the server at the end.
  async contents() {
    const lists = await Promise.all([this.name, `${this.name}-single`, this.strict, `${this.name}-elsewhere`].map(name => http('GET', `/${name}`)));
    this.note('contents', lists.map(list => list.map(record => omit(record, 'createdAt', 'updatedAt'))));
  }
}

const omit = (record, ...names) => Object.fromEntries(Object.entries(record).filter(([name]) => !names.includes(name)));

// Returns the first difference between both sides of a program, or nothing.
async function difference(windows, steps) {
  run += 1;
  const sides = ['plain', 'live'].map(name => new Side(windows[name], name, run));
  for (const side of sides) side.setUp({});
  for (const [index, step] of steps.entries()) {
    lastStep = index;
    const from = sides.map(side => side.trace.length);
    await Promise.all(sides.map(side => side.step(step)));
    const [plain, live] = sides.map((side, index) => side.trace.slice(from[index]));
    if (plain.join('\n') !== live.join('\n')) return report(plain, live);
  }
  await Promise.all(sides.map(side => side.contents()));
  const [plain, live] = sides.map(side => side.trace.at(-1));
  return plain === live ? null : report([plain], [live]);
}

function report(plain, live) {
  const only = (some, others) => some.filter(it => !others.includes(it));
  return `plain: ${only(plain, live).join(' ')}\n  live: ${only(live, plain).join(' ')}` +
    (only(plain, live).length + only(live, plain).length ? '' : `\n  order: ${plain.join(' ')}\n     vs: ${live.join(' ')}`);
}

for (const version in VERSIONS) {
  story(`backbone_${nameOf(version)}_behaves_the_same_with_backwire`, {config: CONFIG, libs: [], tag: null}, async () => {
    const windows = await frames(VERSIONS[version]);
    const failures = [];
    const played = seeds(3);
    for (const seed of played) {
      const steps = program(new Random(seed));
      // A program that hangs takes too long to be shortened.
      const hang = error => { throw new Error(`seed ${seed}: ${error.message}, after ${JSON.stringify(steps[lastStep])}`); };
      if (!await difference(windows, steps).catch(hang)) continue;
      const {shortest, reason} = await shrunk(steps, it => difference(windows, it));
      failures.push(`seed ${seed}:\n  ${describe(shortest)}\n  ${reason}`);
      if (failures.length >= 3) break;
    }
    if (failures.length) throw new Error(failures.join('\n'));
    return `seeds ${played.join(', ')}`;
  });
}
