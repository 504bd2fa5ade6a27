// Wrong answers, to test the comparison with
// ------------------------------------------

// Some of the wrong answers that an answer of Backwire can be turned into: a wrong status, a wrong,
// missing or further value, and a push that is missing, is sent twice, or to the other socket.
// If only one of the servers refuses the request, there is nothing to compare the answer with.
export function planted(answer, sails, random) {
  const isRefusal = [answer, sails].map(({status}) => status >= 400);
  if (isRefusal[0] !== isRefusal[1]) return [];
  const all = [{what: 'status', answer: {...answer, status: answer.status === 409 ? 410 : 409}}];
  const places = valuesIn(answer.body, []);
  if (places.length) all.push({what: 'value', ...changed(answer, ['body', ...random.pick(places)], random)});
  const pushes = answer.pushes.flatMap((list, socket) => list.map((push, at) => ({socket, at, push})));
  // A push that only Backwire sends may be missing as well.
  const shared = pushes.filter(({socket, push}) => sails.pushes[socket].some(other => JSON.stringify(other) === JSON.stringify(push)));
  if (shared.length) {
    const {socket, at, push} = random.pick(shared);
    const others = answer.pushes.map((list, index) => (index === socket ? list.toSpliced(at, 1) : list));
    all.push({what: 'push is missing', answer: {...answer, pushes: others}});
    all.push({what: 'push is sent to the other socket', answer: {...answer, pushes: others.map((list, index) => (index === socket ? list : [...list, push]))}});
    all.push({what: 'push is sent twice', answer: {...answer, pushes: answer.pushes.map((list, index) => (index === socket ? [...list, push] : list))}});
  }
  if (pushes.length) {
    const {socket, at, push} = random.pick(pushes);
    all.push({what: 'value of a push', ...changed(answer, ['pushes', socket, at, ...random.pick(valuesIn(push, []))], random)});
  }
  return all;
}

// The paths of all values that are not objects or lists.
function valuesIn(value, path) {
  if (!value || typeof value !== 'object') return value === undefined ? [] : [path];
  const inner = Object.entries(value).flatMap(([name, it]) => valuesIn(it, [...path, name]));
  return inner.length || !path.length ? inner : [path];
}

// The answer with another value in one place, or without it.
function changed(answer, path, random) {
  const copy = structuredClone(answer);
  const name = path.at(-1);
  const holder = path.slice(0, -1).reduce((value, at) => value[at], copy);
  if (!Array.isArray(holder) && path.length > 1 && random.chance(0.3)) delete holder[name];
  else holder[name] = other(holder[name]);
  return {path, answer: copy};
}

function other(value) {
  if (typeof value === 'number') return value + 1;
  if (typeof value === 'boolean') return !value;
  return value === null ? 1 : `${value}x`;
}
