// Which pushes of Sails and Backwire differ, and why
// --------------------------------------------------
//
// Each push of one server is matched with one of the other. A push that is not matched is a known
// difference only if it is about an association, and only if it is right: what Backwire alone
// pushes has happened, and what Sails alone pushes has not.

export const SHORT = 'A change of an association is a whole update of the record with the id, and Sails pushes the association alone';
export const ORDER = 'Pushes of several records that one request has changed are in another order';
export const COMPLETE = 'A change of an association is announced to all collections and records that it concerns, and Sails leaves out some';
export const UNTRUE = 'Sails announces a change of an association that has not happened, or announces it twice';

export const LATE = 'The associated records in the previous of an update are those before the change in Sails, and those at the time of the push in Backwire';
export const EARLY = 'Sails announces the members that named a new record by its id before there was one, and in Backwire the new record has them';

// Returns the reasons why the pushes of a step differ, and those without a reason. `records` are
// the records of Backwire before and after the step, and `explainRecord` explains the differences
// of a record in a push. `created` is the new record of a create.
export function explainPushes(sails, backwire, {records, explainRecord, created}) {
  const reasons = new Set();
  const unknown = [];
  const state = {...records, had: associationsIn(records.before), has: associationsIn(records.after)};
  for (const [socket, theirs] of sails.entries()) {
    const ours = backwire[socket];
    const {pairs, alone} = matched(theirs, ours, state, explainRecord);
    for (const pair of pairs) pair.reasons.forEach(reason => reasons.add(reason));
    if (isInOtherOrder(pairs)) (isOrderKept(pairs) ? reasons.add(ORDER) : unknown.push({socket, order: pairs.map(({ours}) => ours)}));
    for (const push of alone.backwire) {
      const isRepeat = ours.filter(other => isSame(other, push)).length > 1;
      (!isRepeat && hasHappened(push, state) ? reasons.add(COMPLETE) : unknown.push({socket, backwire: push}));
    }
    for (const push of alone.sails) {
      const isRepeat = ours.some(other => isSame(other, push));
      // The update of a whole record happens also if it changes nothing.
      const isUntrue = () => !push[1].previous && !hasHappened(push, state, true);
      if (isOfAssociation(push) && (isRepeat || isUntrue())) reasons.add(UNTRUE);
      else if (created && isShort(push[1]) && isMember(push, created)) reasons.add(EARLY);
      else unknown.push({socket, sails: push});
    }
  }
  return {reasons, unknown};
}

// Pairs of pushes that say the same, with their places, and the pushes without a partner.
function matched(theirs, ours, state, explainRecord) {
  const pairs = [];
  const left = {sails: theirs.map((push, at) => ({push, at})), backwire: ours.map((push, at) => ({push, at}))};
  const pair = reasonsOf => {
    for (const sails of [...left.sails]) {
      const found = left.backwire.map(it => ({...it, reasons: reasonsOf(sails.push, it.push)})).find(it => it.reasons);
      if (!found) continue;
      pairs.push({sails: sails.at, backwire: found.at, ours: found.push, reasons: found.reasons});
      left.sails = left.sails.filter(({at}) => at !== sails.at);
      left.backwire = left.backwire.filter(({at}) => at !== found.at);
    }
  };
  pair((sails, backwire) => isSame(sails, backwire) && []);
  pair((sails, backwire) => isShortFormOf(sails, backwire, state) && [SHORT]);
  pair((sails, backwire) => reasonsOfRecords(sails, backwire, explainRecord));
  pair((sails, backwire) => {
    const reasons = reasonsOfRecords(sails, withOlderAssociations(backwire, sails, state), explainRecord);
    return reasons && [...reasons, LATE];
  });
  return {pairs, alone: {sails: left.sails.map(({push}) => push), backwire: left.backwire.map(({push}) => push)}};
}

const isSame = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// The update of Backwire with the associated records of Sails in `previous`, where its own are
// those after the step.
function withOlderAssociations([model, push], [, sails], {after}) {
  const now = after[model]?.find(it => idOf(it) === push.id);
  const isLate = name => ASSOCIATIONS.has(name) && now && sails.previous && isSame(push.previous[name], now[name]);
  const previous = Object.entries(push.previous ?? {}).map(([name, it]) => [name, isLate(name) ? sails.previous[name] : it]);
  return [model, {...push, ...push.verb === 'updated' && push.previous && {previous: Object.fromEntries(previous)}}];
}

// The reasons why the records in two pushes differ, if the rest is the same and all have reasons.
function reasonsOfRecords([model, {data, previous, ...sails}], [other, backwire], explainRecord) {
  const {data: ourData, previous: ourPrevious, ...ours} = backwire;
  if (!isSame([model, sails], [other, ours])) return null;
  const all = [explainRecord(data, ourData), explainRecord(previous, ourPrevious)];
  return all.every(({unknown}) => !unknown.length) && all.flatMap(({reasons}) => [...reasons]);
}

// Whether Sails pushes the association alone, and Backwire the update of the record.
function isShortFormOf([model, sails], [other, backwire], state) {
  if (model !== other || !isShort(sails) || sails.id !== backwire.id || !backwire.previous || !isWholeUpdate([model, backwire], state)) return false;
  const {updatedAt, ...data} = backwire.data;
  const expected = {...sails.data, [KEYS[model]]: sails.id};
  return isSame(Object.entries(data).sort(), Object.entries(expected).sort());
}

// Whether a push is the update of a record, with the record as it was before the step.
function isWholeUpdate([model, {verb, id, data, previous, ...rest}], {before, after}) {
  const [record, now] = [before, after].map(records => records[model].find(it => idOf(it) === id));
  if (verb !== 'updated' || Object.keys(rest).length || data[KEYS[model]] !== id || data.updatedAt !== 'a time' || !record) return false;
  // The associated records are read when the push is sent.
  const isAsNow = name => ASSOCIATIONS.has(name) && !(name in data) && now && isSame(previous[name], now[name]);
  const isAsBefore = name => isSame(previous[name], record[name]);
  return isSame(Object.keys(previous), Object.keys(record)) && Object.keys(record).every(name => isAsBefore(name) || isAsNow(name));
}

// Whether Sails pushes nothing but the change of one association of a record.
function isShort({verb, data, previous}) {
  return verb === 'updated' && !previous && Object.keys(data).length === 1 && Object.keys(data).every(name => ASSOCIATIONS.has(name));
}

function isOfAssociation([model, {verb, data}]) {
  if (verb !== 'updated') return /^(addedTo|removedFrom)$/.test(verb);
  const isExtra = name => name === 'updatedAt' || name === KEYS[model];
  const names = Object.keys(data).filter(name => !isExtra(name));
  return names.length > 0 && names.every(name => ASSOCIATIONS.has(name));
}

// Whether a step has made the change that a push announces. An update of Backwire is of the whole
// record.
function hasHappened(push, state, isOfSails) {
  if (!isOfAssociation(push)) return false;
  const [model, {verb, id, attribute, addedId, removedId, data}] = push;
  const has = (all, name, member) => all.has(`${model} ${id} ${name} ${member}`);
  const {had, has: now} = state;
  if (verb === 'addedTo') return has(now, attribute, addedId) && !has(had, attribute, addedId) && isSame(push, [model, {addedId, attribute, id, verb}]);
  if (verb === 'removedFrom') return !has(now, attribute, removedId) && has(had, attribute, removedId) && isSame(push, [model, {attribute, id, removedId, verb}]);
  const names = Object.keys(data).filter(name => ASSOCIATIONS.has(name));
  return names.every(name => has(now, name, data[name]) && !has(had, name, data[name])) && (isOfSails || Boolean(push[1].previous) && isWholeUpdate(push, state));
}

// Whether a push is of a record that is in a collection of a new record.
function isMember([model, {id, data}], created) {
  const lists = Object.values(created).filter(Array.isArray);
  return lists.some(list => list.some(it => it && typeof it === 'object' && KEYS[model] in it && idOf(it) === id)) && Object.values(data)[0] === idOf(created);
}

function isInOtherOrder(pairs) {
  const places = [...pairs].sort((a, b) => a.sails - b.sails).map(({backwire}) => backwire);
  return places.some((place, at) => at > 0 && place < places[at - 1]);
}

// Whether the pushes of each record are in the same order, except those of its collections.
function isOrderKept(pairs) {
  const ofRecords = pairs.filter(({ours: [, {verb}]}) => !/^(addedTo|removedFrom)$/.test(verb));
  const records = new Set(ofRecords.map(({ours: [model, {id}]}) => `${model} ${id}`));
  return [...records].every(record => !isInOtherOrder(ofRecords.filter(({ours: [model, {id}]}) => `${model} ${id}` === record)));
}

export const KEYS = {user: 'user_id', pet: 'pet_id', userprofile: 'id', person: 'id', animal: 'id', article: 'id', tag: 'id'};

const ASSOCIATIONS = new Set([
  'pets', 'patients', 'profile', 'owner', 'bestFriend', 'vets', 'parents', 'children', 'bestFurryFriend', 'user', 'author', 'tags', 'articles'
]);

// The associations of all records, as `pet 1 owner 2`, `user 2 pets 1`, or `pet 3 owner null`.
export function associationsIn(records) {
  const all = new Set();
  for (const [model, list] of Object.entries(records)) {
    for (const record of list) {
      for (const name of ASSOCIATIONS) {
        if (!(name in record)) continue;
        const members = Array.isArray(record[name]) ? record[name] : [record[name]];
        for (const member of members) all.add(`${model} ${record[KEYS[model]]} ${name} ${idOf(member)}`);
      }
    }
  }
  return all;
}

// The ids of all records, as `pet 1`.
export function idsIn(records) {
  return new Set(Object.entries(records).flatMap(([model, list]) => list.map(record => `${model} ${idOf(record)}`)));
}

export const idOf = it => (it && typeof it === 'object' ? it.user_id ?? it.pet_id ?? it.id : it);
