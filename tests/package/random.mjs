// A random program for two servers
// --------------------------------

// Numbers from a seed (mulberry32).
export function randomFrom(seed) {
  let state = seed;
  return below => {
    state = state + 0x6d2b79f5 | 0;
    let mixed = Math.imul(state ^ state >>> 15, 1 | state);
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed;
    return Math.floor(((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32 * below);
  };
}

const QUERIES = [
  '', '?n=1', '?n=1&n=2', '?done=true', '?title=b', '?where={"n":{">":1}}', '?where={"title":{"contains":"a"}}', '?where={"or":[{"n":1},{"done":true}]}',
  '?where={"n":[1,"2"]}', '?where={"n":null}', '?where={"not":{"n":[0,1]}}', '?where={"title":{"!":["a","b"]}}', '?where={"title":{"like":"%25b"}}',
  '?sort=n', '?sort=n%20DESC,title', '?sort={"title":-1}', '?order=desc', '?sort=n&limit=2', '?skip=1', '?limit=0', '?offset=1&per_page=2', '?page=2&per_page=2',
  '?select=title', '?omit=title,createdAt,updatedAt', '?n[>]=0', '?title[startsWith]=a', '?q=1&_=5', '?where={"a":{"above":3}}', '?limit=x', '?where={', '?where={}'
].map(query => encodeURI(decodeURI(query)));
const IDS = ['1', '2', '3', '4', '5', 'x', '99'];
const VALUES = [0, 1, 2, '1', 'a', 'b', 'ab', true, false, null, [1], {a: 1}];

// Random criteria, many of which the server refuses.
function randomQuery(random) {
  const pick = list => list[random(list.length)];
  const name = () => pick(['n', 'title', 'done', 'id', 'n', 'title', 'and', 'or', 'not', 'a\u0001', '']);
  const scalar = () => pick([0, 1, 2, '1', 'a', 'b', true, null, '', 1.5, 'a\u0001b', 'x']);
  const value = () => pick([scalar, scalar, scalar, () => [scalar(), scalar()], () => [], () => [[1]], () => ({}), () => [{a: 1}, scalar()], () => modifiers()])();
  const modifiers = () => ({[pick(['>', '<=', '!', 'in', 'nin', 'contains', 'like', 'startsWith', '=', 'above', 'not', 'lessThan'])]: pick([scalar, scalar, value, () => ({a: 1}), () => [{a: scalar()}]])()});
  const filter = depth => {
    const parts = () => Array.from({length: random(3)}, () => pick([() => filter(depth - 1), () => filter(depth - 1), () => filter(depth - 1), scalar])());
    const entry = () => {
      const key = name();
      if (depth && /^(and|or)$/.test(key)) return [key, pick([parts, parts, parts, value])()];
      return [key, depth && key === 'not' ? pick([() => filter(depth - 1), value])() : value()];
    };
    return Object.fromEntries(Array.from({length: random(3)}, entry));
  };
  const text = () => pick(['', '0', '1', '2', '+1', '-1', 'x', '1.5', 'n', 'title DESC', 'n desc, title', '-n', 'n DESC x', 'n up', ',', 'n,,title', 'asc', 'DESC', '*', 'false', 'title, n', '{"n":1}', '["n","title -1"]', '[1]', '{', 'a\u0001']);
  const parameter = () => pick([
    () => ['where', JSON.stringify(filter(3))],
    () => ['where', JSON.stringify(filter(random(12)))],
    () => ['where', pick(['[]', '1', 'null', '"a"', '{"n":', ''])],
    () => ['where', 'x'],
    () => [`where[${name()}]`, text()],
    () => [`where[${pick(['n', 'title'])}][${pick(['>', 'in', 'contains', '!', ''])}]${pick(['', '[]'])}`, text()],
    () => [`${pick(['n', 'title', 'limit', 'sort', 'select'])}${pick(['', '[]', '[0]', '[a]', '[>]', '[', '[a]b'])}`, text()],
    () => [pick(['sort', 'skip', 'limit', 'select', 'omit', 'page', 'per_page', 'offset', 'order', 'populate', 'q', '_csrf']), text()],
    () => [pick(['sort', 'skip', 'limit', 'select', 'omit']), text()],
    () => [name(), text()]
  ])();
  const pairs = Array.from({length: 1 + random(random(3) ? 2 : 4)}, parameter);
  return `?${pairs.map(pair => pair.map(encodeURIComponent).join('=')).join('&')}`;
}

// The next request: `[verb, url, data, key]`. Sometimes it repeats a former one.
export function nextRequest(random, former, number) {
  const pick = list => list[random(list.length)];
  const attributes = () => Object.fromEntries(['n', 'title', 'done'].filter(() => random(2)).map(name => [name, pick(VALUES)]));
  const write = (verb, url, data) => [verb, url, data, `${pick(['a', 'b'])}-${number}`];
  const id = pick(IDS);
  return pick([
    () => ['get', `/todo${pick(QUERIES)}`],
    () => ['get', `/todo${pick(QUERIES)}`],
    () => ['get', `/todo/${id}${pick(['', '', '?select=title'])}`],
    () => ['get', `/todo${randomQuery(random)}`],
    () => ['get', `/todo${randomQuery(random)}`],
    () => ['get', `/todo/${id}${randomQuery(random)}`],
    () => write(pick(['post', 'put', 'delete']), `/todo/${id}${randomQuery(random)}`, {}),
    () => write('post', '/todo', attributes()),
    () => write('post', '/todo', attributes()),
    () => write('post', '/todo', {...attributes(), id: pick([...IDS, 7, -1, 1.5, '', 'a\u0001', '\u007f', 'ä'.repeat(128), [1], {}])}),
    () => write('post', '/todo', pick([[], [{n: 1}, {n: 2}], [{id: 1}, {n: 3}], 'text', undefined])),
    () => write(pick(['put', 'patch']), `/todo/${id}`, attributes()),
    () => write('patch', `/todo/${id}`, {...attributes(), id: pick([id, id, 'other']), updatedAt: 1}),
    () => write('patch', '/todo', pick([{id, n: 5}, {n: 5}, {id: 'a\u0001', n: 5}, {id: 1.5}])),
    () => write('delete', `/todo/${id}`),
    () => write('post', `/todo/${id}${pick(['', '?where={}'])}`, {}),
    () => pick(former.length ? former : [['get', '/todo']]),
    () => {
      const [verb, url, , key] = pick(former.length ? former : [['get', '/todo']]);
      return [verb, url, verb === 'get' ? undefined : {n: 100}, key];
    }
  ])();
}
