// Random steps of the comparison with Sails
// -----------------------------------------

const MODELS = {
  user: {
    key: 'user_id', attributes: {name: 'name'}, one: {}, many: {pets: 'pet', patients: 'pet', profile: 'userprofile'}
  },
  pet: {
    key: 'pet_id', attributes: {name: 'name', isPet: 'boolean'},
    one: {owner: 'user', bestFriend: 'user', bestFurryFriend: 'pet'}, many: {vets: 'user', parents: 'pet', children: 'pet'}
  },
  userprofile: {key: 'id', attributes: {zodiac: 'name'}, one: {user: 'user'}, many: {}},
  person: {
    key: 'id', attributes: {name: 'name', email: 'email', age: 'number', admin: 'boolean', meta: 'json'}, one: {},
    many: {pets: 'animal'}
  },
  animal: {key: 'id', attributes: {name: 'unique', kind: 'kind', weight: 'number'}, one: {owner: 'person'}, many: {}},
  article: {key: 'id', attributes: {title: 'name', subtitle: 'nullable'}, one: {author: 'person'}, many: {tags: 'tag'}},
  tag: {key: 'id', attributes: {label: 'name'}, one: {}, many: {articles: 'article'}}
};

const GOOD = {
  name: random => random.pick(['Ann', 'Bob', 'Zoe', 'ann', 'Ångström', 'a b', '', '5', '50%', "it's"]),
  unique: random => `n${random.below(40)}`,
  email: random => random.pick(['a@example.com', 'b@example.org', '']),
  number: random => random.pick([0, 1, 5, 7, 42, 1.5, '05', '7']),
  boolean: random => random.pick([true, false, 1, 0, 'true', '0']),
  json: random => random.pick([null, 5, 'x', {a: 1}, [1, 2], true]),
  kind: random => random.pick(['cat', 'dog', 'bird']),
  nullable: random => random.pick(['sub', '', null])
};

const BAD = [null, 'abc', '', -1, 2, {}, [], 'a very long text of more than twenty letters', ' 5 '];

const ID = random => (random.chance(0.85) ? 1 + random.below(4) : random.pick([0, 99, -1, 'x', '01', '2', 1.5]));

// The places of the CSRF token of a write.
const TOKENS = ['header', 'header', 'header', 'body', 'body', 'query', 'none', 'wrong'];

export function nextStep({random, hasCsrf}) {
  const by = random.pick([0, 0, 1, 1, 'http']);
  const name = random.pick(Object.keys(MODELS));
  const step = random.pick(KINDS)(random, name, MODELS[name]);
  const needsToken = hasCsrf && step.method !== 'get';
  return {by, ...step, ...needsToken && {token: random.pick(TOKENS)}};
}

function values(random, model, isNew) {
  const all = {};
  for (const [attribute, type] of Object.entries(model.attributes)) {
    if (!random.chance(isNew ? 0.8 : 0.5)) continue;
    all[attribute] = random.chance(0.06) ? random.pick(BAD) : GOOD[type](random);
  }
  for (const attribute of Object.keys(model.one)) if (random.chance(0.3)) all[attribute] = random.chance(0.15) ? null : ID(random);
  for (const attribute of Object.keys(model.many)) {
    if (random.chance(0.08)) all[attribute] = random.pick([[], [1], [1, 2], ['2', 3], [99], null, '1', 1]);
  }
  if (random.chance(0.05)) all.unknown = 1;
  if (random.chance(0.04)) all[model.key] = random.pick([50, '60', 'x', 0, null, 1]);
  return all;
}

const create = (random, name, model) => ({method: 'post', url: `/${name}`, data: values(random, model, true)});
const update = (random, name, model) => ({
  method: random.pick(['put', 'patch', 'patch']), url: `/${name}/${ID(random)}`, data: values(random, model, false)
});
const destroy = (random, name) => ({method: 'delete', url: `/${name}/${ID(random)}`});
const readOne = (random, name) => ({method: 'get', url: `/${name}/${ID(random)}${random.chance(0.3) ? options(random, MODELS[name], false) : ''}`});
const readAll = (random, name) => ({method: 'get', url: `/${name}${random.chance(0.6) ? options(random, MODELS[name], true) : ''}`});

function options(random, model, isList) {
  const parts = [];
  const attributes = Object.keys(model.attributes).concat(model.key, 'createdAt');
  const attribute = () => random.pick(attributes);
  if (isList && random.chance(0.5)) parts.push(`where=${JSON.stringify(where(random, model))}`);
  else if (isList && random.chance(0.4)) {
    const name = random.pick(Object.keys(model.attributes));
    parts.push(`${name}=${random.pick(['Ann', '5', 'true', '1', '', 'cat', 'n1'])}`);
  }
  if (isList && random.chance(0.3)) parts.push(`sort=${random.pick([attribute(), `${attribute()} DESC`, `${attribute()} ASC`, JSON.stringify({[attribute()]: -1}), JSON.stringify([{[attribute()]: 'DESC'}])])}`);
  // Both servers have other orders of values of different types, so their first records differ.
  const isOtherOrder = parts.some(part => /^sort=.*\bmeta\b/.test(part));
  if (isList && !isOtherOrder && random.chance(0.3)) parts.push(`limit=${random.pick(['1', '2', '0', '30', 'x', '-1'])}`);
  if (isList && !isOtherOrder && random.chance(0.2)) parts.push(`skip=${random.pick(['0', '1', '2', '', 'x'])}`);
  if (random.chance(0.2)) parts.push(`select=${random.pick([attribute(), `${attribute()},${attribute()}`, '*', 'nope'])}`);
  else if (random.chance(0.15)) parts.push(`omit=${random.pick([attribute(), 'nope'])}`);
  if (random.chance(0.3)) {
    const all = Object.keys({...model.one, ...model.many});
    parts.push(`populate=${random.pick(['false', all[0] ?? 'false', all.join(',') || 'false', 'nope', ''])}`);
  }
  return parts.length ? `?${parts.join('&')}` : '';
}

function where(random, model, depth = 0) {
  if (depth < 2 && random.chance(0.2)) return {[random.pick(['or', 'and'])]: [where(random, model, depth + 1), where(random, model, depth + 1)]};
  const name = random.pick([...Object.keys(model.attributes), ...Object.keys(model.one), model.key]);
  const type = model.attributes[name];
  const value = () => (random.chance(0.1) ? random.pick(BAD.filter(it => typeof it !== 'object')) : type ? GOOD[type](random) : ID(random));
  const condition = random.pick([
    () => value(), () => value(), () => [value(), value()], () => ({'!=': value()}), () => ({'>': value()}), () => ({'<=': value()}),
    () => ({in: [value(), value()]}), () => ({nin: [value()]}), () => ({contains: 'n'}), () => ({startsWith: 'A'}), () => null,
    () => ({'>=': value(), '<': value()}), () => ({endsWith: 'e'}), () => ({like: '%o%'})
  ])();
  return {[name]: condition};
}

function associated(random, name, model) {
  const many = Object.keys(model.many);
  if (!many.length) return readAll(random, name);
  const url = `/${name}/${ID(random)}/${random.pick(many)}`;
  return random.pick([
    () => ({method: 'get', url}),
    () => ({method: 'get', url: `${url}?limit=1`}),
    () => ({method: 'put', url: `${url}/${ID(random)}`}),
    () => ({method: 'put', url: `${url}/${ID(random)}`}),
    () => ({method: 'delete', url: `${url}/${ID(random)}`}),
    () => ({method: 'put', url, data: random.pick([[1], [1, 2], [], [2, 3], ['1']])})
  ])();
}

function singular(random, name, model) {
  const one = Object.keys(model.one);
  return one.length ? {method: 'get', url: `/${name}/${ID(random)}/${random.pick(one)}`} : readOne(random, name);
}

const other = random => random.pick([
  () => ({method: random.pick(['get', 'post', 'put', 'patch', 'delete']), url: '/hello'}),
  () => ({method: 'get', url: random.pick(['/someJSON', '/someNull', '/someZero', '/someError', '/foo', '/throw', '/headers', '/count', '/nowhere'])}),
  () => ({method: 'put', url: '/forbidden'}),
  () => ({method: 'get', url: '/ok?x=5'}),
  () => ({
    method: 'get', url: '/headers', headers: random.pick([{}, {'x-test-header-one': 'foo'}, {'x-test-header-one': '5'}, {'X-Test-Header-One': 'A b'}])
  }),
  () => ({
    method: random.pick(['get', 'post', 'put', 'patch', 'delete']), url: `/echo${random.pick(['', '?a=1&b=x', '?a=', '?b=1&b=2', '?c="q" {z}'])}`,
    data: random.pick([undefined, {}, {b: 5}, {b: [1], d: null, e: 'Ångström'}])
  }),
  () => ({method: 'post', url: `/${random.pick(['tag', 'user', 'person', 'animal'])}`}),
  () => ({method: 'get', url: `/tag?label=${random.pick(['50%', 'Ångström', 'a b', 'a+b', '"', '{}', '[1]', "it's"])}`}),
  () => ({method: 'get', url: `/tag?where={"label":"${random.pick(['50%', 'Ångström', 'a b', 'a+b', "it's"])}"}`}),
  () => ({method: 'get', url: random.pick(['/Person', '/person/', '/PERSON/1', '/person/1/', '/person//1', '/person?x="q"', '/tag/%31'])}),
  () => ({method: 'get', url: `/${random.pick(['tag', 'user'])}/${random.pick(['find', 'find/1', 'create?label=a&name=b', 'update/1?label=c&name=d', 'destroy/2'])}`})
])();


// Criteria for an attribute of the type json.
function composed(random) {
  const value = () => random.pick([null, 5, 'x', '5', true, {a: 1}, {b: [2], a: 1}, [1, 2], [], {}, [[5]], [{a: 1}], 1]);
  if (random.chance(0.5)) return {method: 'post', url: '/person', data: {meta: value(), name: 'json'}};
  const scalar = () => random.pick([5, 'x', '5', true, 1, '']);
  const condition = random.pick([
    () => scalar(), () => [value(), value()], () => ({'!=': value()}), () => ({in: [value()]}), () => ({nin: [value(), value()]}), () => null,
    () => ({'!=': null}), () => ({in: []}), () => ({nin: []}), () => ({'>': scalar()}), () => ({'<=': scalar()}), () => ({contains: 'x'}), () => ({startsWith: '5'})
  ])();
  const where = random.pick([{meta: condition}, {or: [{meta: condition}, {name: 'Ann'}]}, {and: [{meta: condition}, {name: {'!=': 'Ann'}}]}]);
  return {method: 'get', url: `/person?where=${JSON.stringify(where)}`};
}

function shortcut(random, name, model) {
  if (random.chance(0.5)) return readAll(random, name);
  const many = Object.keys(model.many);
  const id = () => ID(random);
  const list = () => random.pick(['[1]', '[1,2]', '[]', '["2"]', '1']);
  return random.pick([
    ...many.length ? [
      () => ({method: 'get', url: `/${name}/${id()}/${random.pick(many)}/add/${id()}`}),
      () => ({method: 'get', url: `/${name}/${id()}/${random.pick(many)}/remove/${id()}`}),
      () => { const attribute = random.pick(many); return {method: 'get', url: `/${name}/${id()}/${attribute}/replace?${attribute}=${list()}`}; }
    ] : [],
    () => ({method: 'get', url: `/${name}/find${options(random, model, true)}`}),
    () => ({method: 'get', url: `/${name}/find/${id()}${random.chance(0.3) ? options(random, model, false) : ''}`}),
    () => ({method: 'get', url: `/${name}/create?${query(random, model)}`}),
    () => ({method: 'get', url: `/${name}/update/${id()}?${query(random, model)}`}),
    () => ({method: 'get', url: `/${name}/destroy/${id()}`})
  ])();
}

function query(random, model) {
  const names = Object.keys({...model.attributes, ...model.one});
  const all = Array.from({length: 1 + random.below(3)}, () => random.pick(names));
  return (random.chance(0.9) ? [...new Set(all)] : all).map(attribute => {
    const value = attribute in model.one ? ID(random) : random.pick(['Ann', 'n7', '5', 'true', '', 'cat', 'a@example.com', '-1']);
    return `${attribute}=${value}`;
  }).join('&');
}

function associatedCriteria(random, name, model) {
  const many = Object.keys(model.many);
  if (!many.length || random.chance(0.7)) return readAll(random, name);
  const attribute = random.pick(many);
  return {method: 'get', url: `/${name}/${ID(random)}/${attribute}${options(random, MODELS[model.many[attribute]], true)}`};
}

function constantUrl(random, name, model) {
  // Most of these are refused, and many of them in other words.
  if (random.chance(0.85)) return readOne(random, name);
  return random.pick([
    () => ({method: 'put', url: `/${name}`, data: {[model.key]: ID(random), ...values(random, model, false)}}),
    () => ({method: 'patch', url: `/${name}`, data: values(random, model, false)}),
    () => ({method: 'delete', url: `/${name}`, data: random.pick([{[model.key]: ID(random)}, {}, undefined, {id: 1}])}),
    () => ({method: 'post', url: `/${name}/${ID(random)}`, data: {}}),
    () => ({method: random.pick(['head', 'options']), url: `/${name}${random.pick(['', '/1'])}`}),
    () => ({method: 'get', url: `/${name}/${ID(random)}/${random.pick(['nope', 'name', 'createdAt', ...Object.keys(model.one)])}${random.pick(['', '/1'])}`}),
    () => ({method: random.pick(['put', 'delete']), url: `/${name}/${ID(random)}/${random.pick(['nope', ...Object.keys(model.one), ...Object.keys(model.many)])}`, data: random.pick([undefined, {}, [1], [null], ['x'], {a: 1}])}),
    () => ({method: random.pick(['post', 'put', 'patch']), url: random.pick([`/${name.toUpperCase()}/1/`, `/${name}/?name=q`, `/${name}/1?name=q&limit=1`]), data: {name: 'url', title: 't', label: 'l', zodiac: 'z'}})
  ])();
}

const KINDS = [
  create, create, create, create, create, update, update, update, destroy, readOne, readOne, readAll, readAll, readAll, associated,
  associated, associated, singular, other, composed, shortcut, associatedCriteria, constantUrl
];
