// Live collections equal a fresh read
// -----------------------------------
//
// Collections fetch random pages, filters and sorts, also pages with `remove: false`. Meanwhile
// another client changes the records, the page writes, and the line is cut. Once everything is
// quiet, each collection shows the union of fresh reads of its queries, in the server's order if
// there is one query with a sort. Its events lead from its first models to its last ones.
//
// Beside them, a collection whose `parse` changes the list, collections with `select` and `omit`,
// and a model that shows one record after another equal fresh reads too.

const STEPS = 40;
const KINDS = ['a', 'b', 'c'];
const QUERIES = [
  {}, {sort: 'n'}, {sort: 'n DESC', limit: 3}, {sort: 'n', limit: 2, skip: 1}, {sort: 'n', limit: 2, skip: 3}, {kind: 'a'}, {kind: 'b'},
  {kind: 'a', sort: 'n DESC'}, {where: '{"n":{">":20}}'}, {where: '{"n":{"<":30}}', sort: 'n', limit: 2}, {where: '{"kind":["a","c"]}'},
  {where: '{"or":[{"kind":"b"},{"n":{">":40}}]}', sort: 'kind ASC'}
];

function program(random) {
  const steps = [{call: 'fetch', list: 0, query: random.below(QUERIES.length)}];
  while (steps.length < STEPS) steps.push(step(random));
  return steps;
}

function step(random) {
  const [list, record, n, kind] = [random.below(3), random.below(12), random.below(60), random.pick(KINDS)];
  return random.pick([
    ...Array(4).fill({call: 'post', n, kind}), ...Array(3).fill({call: 'patch', record, n}), ...Array(2).fill({call: 'patch', record, kind}),
    ...Array(2).fill({call: 'delete', record}),
    ...Array(4).fill({call: 'fetch', list, query: random.below(QUERIES.length), remove: random.chance(0.5)}),
    {call: 'save', list, record, n}, {call: 'save', list, record, kind}, {call: 'destroy', list, record},
    {call: 'show', record}, {call: 'cut'}, {call: 'mend'}, {call: 'mend'}, {call: 'leave'}, {call: 'together', n, kind, record}, {call: 'wait'}
  ]);
}

// The collections beside the lists: the data of their fetch, and a `parse`.
const OTHERS = [
  {parse: list => list.map(({id, n, kind}) => ({id, label: `${n} ${kind}`}))},
  {data: {sort: 'n DESC'}, parse: list => list.map(({id, n, kind}) => ({id, label: `${n} ${kind}`})).reverse()},
  {data: {select: 'n'}},
  {data: {omit: 'kind', where: '{"n":{"<":30}}'}},
  {data: {select: 'kind', sort: 'n', limit: 3}}
];

let run = 0;

class World {
  constructor() {
    this.url = `/item${run += 1}`;
    this.ids = [];
    this.isCut = false;
    const Items = Backbone.Collection.extend({
      url: this.url,
      fetch(options) { return Backbone.Collection.prototype.fetch.call(this, {...options, data: {...options.query}}); }
    });
    this.lists = [0, 1, 2].map(() => {
      const items = new Items(), shown = new Set(), faults = [];
      items.on('add', model => {
        if (shown.has(model.id)) faults.push(`added ${model.id} twice`);
        shown.add(model.id);
      }).on('remove', model => {
        if (!shown.delete(model.id)) faults.push(`removed ${model.id}, which was not there`);
      }).on('reset', () => faults.push('was reset'));
      return {items, queries: [], shown, faults};
    });
    this.others = OTHERS.map(({data, parse}) => ({data, items: new (Backbone.Collection.extend({url: this.url, ...parse && {parse}}))()}));
    this.detail = new (Backbone.Model.extend({urlRoot: this.url}))();
  }

  // The first answer has to contain a record, so that the effect of a `parse` can be seen.
  async open() {
    await this.step({call: 'post', n: 7, kind: 'a'});
    for (const {items, data} of this.others) await fetched(items, {data});
  }

  // Shows another record in the detail model.
  async show(id) {
    await this.cut(false);
    await online();
    this.detail.clear();
    this.detail.set({id});
    await fetched(this.detail);
  }

  id(record) {
    return this.ids[record % (this.ids.length || 1)] ?? 1;
  }

  async step({call, n, kind, record, list, query, remove}) {
    const attrs = {...n !== undefined && {n}, ...kind !== undefined && {kind}};
    if (call === 'post') return this.ids.push((await http('POST', this.url, attrs)).id);
    if (call === 'patch') return http('PATCH', `${this.url}/${this.id(record)}`, attrs);
    if (call === 'delete') return http('DELETE', `${this.url}/${this.id(record)}`);
    if (call === 'together') {
      return Promise.all([this.step({call: 'post', n, kind}), this.step({call: 'patch', record, n}), this.step({call: 'post', n: n + 1, kind})]);
    }
    if (call === 'cut' || call === 'mend') return this.cut(call === 'cut');
    if (call === 'leave') {
      Backwire.disconnect();
      Backwire.connect();
      return;
    }
    if (call === 'wait') return this.isCut || settled(1);
    if (call === 'show') return this.show(this.id(record));
    const {items} = this.lists[list];
    if (call === 'fetch') return this.fetch(this.lists[list], query, remove);
    const model = items.at(record % (items.length || 1));
    if (call === 'save') model?.save(attrs, {patch: true});
    if (call === 'destroy') model?.destroy({wait: true});
  }

  async cut(isCut) {
    if (this.isCut === isCut) return;
    this.isCut = isCut;
    await line[isCut ? 'cut' : 'mend']();
  }

  // A fetch fails while the line is cut, so the line is mended first.
  async fetch(list, query, remove) {
    await this.cut(false);
    await online();
    const result = await fetched(list.items, {query: QUERIES[query], remove});
    if (result !== 'success') throw new Error(`${result} for ${JSON.stringify(QUERIES[query])}`);
    list.queries = remove ? [query] : [...new Set([...list.queries, query])];
  }

  // Returns the faults once everything is quiet, if there are any.
  async faults() {
    await this.cut(false);
    await flushed();
    await settled();
    let faults;
    const end = performance.now() + 5000;
    do {
      const checks = [...this.lists.map((list, index) => this.fault(list, index)), ...this.others.map(other => this.faultBeside(other)), this.faultOfDetail()];
      faults = (await Promise.all(checks)).filter(Boolean);
      if (faults.length) await new Promise(resolve => { setTimeout(resolve, 50); });
    } while (faults.length && performance.now() < end);
    return faults.join('\n  ');
  }

  async fault({items, queries, shown, faults}, index) {
    if (faults.length) return `list ${index} ${faults.join(', ')}`;
    const reads = await Promise.all(queries.map(query => http('GET', `${this.url}?${$.param(QUERIES[query])}`)));
    const isSorted = queries.length === 1 && QUERIES[queries[0]].sort;
    const order = ids => (isSorted ? ids : ids.sort((a, b) => a - b)).join();
    const text = record => `${record.id}:${record.n}${record.kind}`;
    const is = isSorted ? items.toJSON() : _.sortBy(items.toJSON(), 'id');
    const all = Object.values(Object.fromEntries(reads.flat().map(record => [record.id, record])));
    const should = isSorted ? reads[0] : _.sortBy(all, 'id');
    const [left, right] = [is, should].map(list => list.map(text).join(' '));
    if (left !== right) return `list ${index} of ${queries.map(query => JSON.stringify(QUERIES[query]))}\n    shows ${left}\n    not   ${right}`;
    if (order([...shown]) !== order(items.pluck('id')) && !isSorted) return `the events of list ${index} lead to ${[...shown]}, and it shows ${items.pluck('id')}`;
  }

  // Compares all attributes with a collection that was never live.
  async faultBeside({items, data}) {
    const fresh = new items.constructor();
    await fetched(fresh, {data, realtime: false});
    const text = list => JSON.stringify((data?.sort ? list.models : list.sortBy('id')).map(model => Object.entries(model.attributes).sort()));
    if (text(items) !== text(fresh)) return `the collection of ${JSON.stringify(data)}\n    shows ${text(items)}\n    not   ${text(fresh)}`;
  }

  async faultOfDetail() {
    const {id} = this.detail;
    const record = id === undefined ? {} : await http('GET', `${this.url}/${id}`);
    const is = this.detail.pick('n', 'kind');
    if (record.id !== undefined && !_.isMatch(is, _.pick(record, 'n', 'kind'))) {
      return `the model of record ${id}\n    shows ${JSON.stringify(is)}\n    not   ${JSON.stringify(record)}`;
    }
  }

  end() {
    for (const {items} of [...this.lists, ...this.others]) Backwire.stop(items.off());
    Backwire.stop(this.detail);
  }
}

async function failure(steps) {
  const world = new World();
  try {
    await world.open();
    for (const step of steps) await world.step(step);
    return await world.faults();
  } catch (error) {
    return String(error.stack || error);
  } finally {
    await world.cut(false);
    await online();
    world.end();
  }
}

story('random_live_collections_equal_a_fresh_read', async () => {
  const failures = [];
  for (const seed of seeds(8)) {
    const steps = program(new Random(seed));
    const first = await failure(steps);
    if (!first) continue;
    const {shortest, reason} = await shrunk(steps, failure);
    failures.push(`seed ${seed}:\n  ${describe(shortest)}\n  ${reason || first}`);
    if (failures.length >= 2) break;
  }
  if (failures.length) throw new Error(failures.join('\n'));
});
