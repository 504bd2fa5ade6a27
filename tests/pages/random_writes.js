// Each write is committed once, and each call is answered once
// ------------------------------------------------------------
//
// Random creates, saves, actions and destroys run online, offline and on a bad line, with reloads
// between. In the end the server has each write once, in the order of the writes of each model. No
// call had more than one callback, and each call that no reload has ended had exactly one.

const LOADS = 4;
const CALLS = 14;
const COUNT = 6;

// The changes of a proxy's treatment of WebSockets.
const CHANGES = ['allow', 'refuse', 'drop'].map(call => ({call}));

function program(random, changes) {
  return Array.from({length: LOADS}, () => Array.from({length: CALLS}, () => step(random, changes)));
}

function step(random, changes) {
  const model = random.below(3);
  return random.pick([
    {call: 'create'}, {call: 'create'}, {call: 'create and save'}, {call: 'create and destroy'}, {call: 'save', model}, {call: 'save', model}, {call: 'patch', model},
    {call: 'action', model}, {call: 'action', model}, {call: 'bulk'}, {call: 'wait'}, {call: 'disconnect'}, {call: 'connect'}, {call: 'connect'},
    {call: 'cut'}, {call: 'mend'}, {call: 'mend'}, {call: 'deafen'}, {call: 'freeze'}, ...changes
  ]);
}

// The calls of one program so far. They survive a reload as JSON.
class Ledger {
  constructor(seed, {created = [], destroyed = [], actions = [], bulk = [], values = {}, kept = {}, next = 1, faults = []} = {}) {
    Object.assign(this, {seed, created, destroyed, actions, bulk, values, kept, next, faults});
    this.url = `/thing${seed}`;
    this.calls = [];
    this.models = [0, 1, 2].map(index => new (Backbone.Model.extend({urlRoot: `${this.url}-model`}))({id: index + 1}));
    this.things = new (Backbone.Collection.extend({url: this.url}))();
  }

  toJSON() {
    const {created, destroyed, actions, bulk, values, kept, next, faults} = this;
    return {created, destroyed, actions, bulk, values, kept, next, faults};
  }

  // Returns options that count the callbacks of a call.
  counted(name) {
    const call = {name, ends: []};
    this.calls.push(call);
    return {
      success: () => call.ends.push('success'),
      error: (model, xhr) => call.ends.push(`error ${(xhr ?? model)?.status}`)
    };
  }

  async step({call, model}) {
    const token = this.next++;
    if (/^(cut|mend|deafen|freeze|allow|refuse|drop)$/.test(call)) return line[call]();
    if (call === 'disconnect') return void Backwire.disconnect();
    if (call === 'connect') return void Backwire.connect();
    if (call === 'wait') return new Promise(resolve => { setTimeout(resolve, 5); });
    if (call === 'create') {
      this.created.push(token);
      return void this.things.create({token}, this.counted(`create ${token}`));
    }
    if (call === 'create and save') {
      const thing = this.things.create({token: 0}, this.counted(`create ${token}`));
      thing.save({token}, this.counted(`save ${token}`));
      return void this.created.push(token);
    }
    if (call === 'create and destroy') {
      const thing = this.things.create({token}, this.counted(`create ${token}`));
      thing.destroy(this.counted(`destroy ${token}`));
      return void this.destroyed.push(token);
    }
    if (call === 'bulk') {
      const list = new Backbone.Collection([{token}, {token: token + 0.5}]);
      this.bulk.push(token, token + 0.5);
      return void list.sync('create', list, {url: `${this.url}-bulk`, ...this.counted(`bulk ${token}`)});
    }
    const target = this.models[model];
    if (call === 'action') {
      this.actions.push([model, token]);
      return void target.sync('create', target, {url: `${this.url}-action`, attrs: {model, token}, ...this.counted(`action ${token}`)});
    }
    const name = call === 'patch' ? 'patched' : 'saved';
    this.values[model] = {...this.values[model], [name]: token};
    void target.save({[name]: token}, {patch: call === 'patch', ...this.counted(`${call} ${token}`)});
  }

  // Returns the calls with more callbacks than one. At the end, also those with fewer.
  noteCalls(least) {
    for (const {name, ends} of this.calls) {
      const isGone = /^(create|destroy) /.test(name) && this.destroyed.includes(+name.split(' ')[1]);
      if (ends.length > 1 || ends.length < least && !isGone) this.faults.push(`${name} had callbacks: ${ends.join(', ') || 'none'}`);
      if (ends.some(it => it.startsWith('error')) && !isGone) this.faults.push(`${name} had ${ends}`);
    }
  }

  // Returns the faults of the server's records at the end, if there are any.
  async check() {
    const end = performance.now() + 5000;
    let faults;
    while ((faults = await this.differences()).length && performance.now() < end) await new Promise(resolve => { setTimeout(resolve, 100); });
    const all = [...this.faults, ...faults];
    return all.length ? `seed ${this.seed}:\n  ${all.join('\n  ')}` : '';
  }

  async differences() {
    const faults = [];
    const read = async suffix => (await http('GET', `${this.url}${suffix}?limit=1000`));
    const tokens = list => list.map(({token}) => token);
    const compare = (what, is, should) => {
      if (JSON.stringify(is) !== JSON.stringify(should)) faults.push(`${what}: ${JSON.stringify(is)} and not ${JSON.stringify(should)}`);
    };
    const sorted = list => _.sortBy(list);
    compare('created', sorted(tokens(await read(''))), sorted(this.created));
    compare('bulk', sorted(tokens(await read('-bulk'))), sorted(this.bulk));
    const actions = await read('-action');
    for (const model of [0, 1, 2]) {
      const of = list => list.filter(it => it[0] === model);
      compare(`actions of ${model}`, of(actions.map(it => [it.model, it.token])), of(this.actions));
    }
    for (const {id, saved, patched} of await read('-model')) {
      const should = this.values[id - 1] ?? {};
      compare(`model ${id}`, [saved ?? null, patched ?? null], [should.saved ?? null, should.patched ?? null]);
    }
    return faults;
  }
}

async function back() {
  await line.mend();
  Backwire.connect();
  await flushed();
}

// Programs run one after the other, so that the stored calls of one are there before the next.
const load = (index, changes) => async memory => {
  const all = memory ?? seeds(COUNT).map(seed => ({seed}));
  const ledgers = all.map(({seed, ledger}) => new Ledger(seed, ledger));
  for (const ledger of ledgers) {
    if (index === 0) for (let n = 0; n < 3; n++) await http('POST', `${ledger.url}-model`, {n});
    for (const model of ledger.models) model.fetch();
    if (ledger.seed % 2) await line.mend();
    for (const step of program(new Random(ledger.seed), changes)[index]) await ledger.step(step);
  }
  const isLast = index === LOADS - 1;
  if (isLast) await back();
  if (isLast) await until(() => ledgers.every(({calls}) => calls.every(({ends}) => ends.length))).catch(() => {});
  for (const ledger of ledgers) ledger.noteCalls(isLast ? 1 : 0);
  if (!isLast) {
    await line.mend();
    return ledgers.map(ledger => ({seed: ledger.seed, ledger: ledger.toJSON()}));
  }
  const faults = (await Promise.all(ledgers.map(ledger => ledger.check()))).filter(Boolean);
  if (faults.length) throw new Error(faults.join('\n'));
};

const loads = (changes = []) => Array.from({length: LOADS}, (_, index) => load(index, changes));

story('random_writes_are_committed_once_and_answered_once', ...loads());

story('random_writes_are_committed_once_without_websockets', {websockets: 'refuse'}, ...loads());

story('random_writes_are_committed_once_where_websockets_come_and_go', {websockets: 'refuse'}, ...loads(CHANGES));
