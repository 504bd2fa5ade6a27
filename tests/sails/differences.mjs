// What differs from Sails, and why
// --------------------------------
//
// `is(step, found, sails, backwire)` tells whether a difference is of this kind. The page
// docs/how-to/move-from-sails.md has each of them for users.

// A member of a collection in an answer.
const COLLECTION = /\/(pets|patients|profile|vets|parents|children|tags|articles)\/\d+$/;

const isOk = status => status < 400;

const hasNullKey = (data = {}) => Object.entries(data).some(([name, value]) => /^(\w+_)?id$/.test(name) && value === null);

export const differences = [
  {
    about: 'Pushes have the ids of associated records, and Sails sends the records',
    is: (step, {path}, sails, backwire) => path.startsWith('/pushes') && isEqual(sails.pushes, backwire.pushes)
  },
  {
    about: 'Pushes of several records that one request has changed are in another order',
    is: (step, {path}, sails, backwire) => path.startsWith('/pushes') && isEqual(sorted(sails.pushes), sorted(backwire.pushes))
  },
  {
    about: 'A change of an association is a whole update of the record with the id, and is announced to all collections that it concerns',
    is: (step, {path}, sails, backwire) =>
      path.startsWith('/pushes') && isEqual(sorted(ofOthers(sails.pushes)), sorted(ofOthers(backwire.pushes)))
  },
  {
    about: 'If criteria and populate are wrong, Sails reports the criteria first, and with a limit of 0 neither',
    is: ({url}, found, {body}, backwire) =>
      (url.includes('populate=') || url.includes('limit=0')) && /INVALID/.test(backwire.body) && (body === 'E_INVALID_CRITERIA' || body?.length === 0)
  },
  {
    about: 'A GET shortcut that writes needs a CSRF token, and in Sails it does not',
    is: ({method}, found, sails, {body}) => method === 'get' && body === 'E_CSRF'
  },
  {
    about: 'Sails fails with a status 500, and Backwire names what is wrong',
    is: (step, found, {status}, backwire) => status === 500 && [400, 404].includes(backwire.status)
  },
  {
    about: 'Sails ignores the id in the body of an update, and Backwire refuses another id than that of the url',
    is: ({method}, found, sails, backwire) => /^(put|patch)$/.test(method) && backwire.body === 'E_BAD_ID' && isOk(sails.status)
  },
  {
    about: 'Sails refuses a new record with the id null, and Backwire chooses the id, because Backbone sends such models',
    is: ({method, data}, found, {status}, backwire) => method === 'post' && hasNullKey(data) && status === 400 && isOk(backwire.status)
  },
  {
    about: 'In Sails an id that was given does not count, and a create that fails uses up an id',
    is: ({method}, {path}, {body}, {status}) =>
      method === 'post' && (/^\/body\/(\w+_)?id$/.test(path) || body === 'E_UNIQUE' && isOk(status))
  },
  {
    about: 'Sails links with ids of records that do not exist, and Backwire does not',
    is: (step, {path, backwire}) => COLLECTION.test(path) && backwire === undefined
  },
  {
    about: 'Sails keeps the id of a destroyed record in attributes without a collection on the other side, and Backwire sets null',
    is: (step, {path, sails, backwire}) => /\/(bestFriend|bestFurryFriend|author)$/.test(path) && Number.isInteger(sails) && backwire === null
  },
  {
    about: 'Of a request that is wrong and whose record does not exist, Sails reports the record, and Backwire what is wrong',
    is: (step, found, {status}, backwire) => status === 404 && backwire.status === 400
  },
  {
    about: 'Sails refuses to omit the key, and Backwire ignores it',
    is: ({url}, found, {body}) => /omit=(\w+_)?id/.test(url) && body === 'E_INVALID_CRITERIA'
  },
  {
    about: 'Sails compares any JSON values with < and >, and Backwire refuses objects and lists there',
    is: ({url}, found, {status}, backwire) => /[<>]=?":[{[]/.test(url) && isOk(status) && backwire.status === 400
  },
  {
    about: 'A list of associated ids for a url without a record is E_INVALID_TARGET_RECORD_IDS in Sails, and 404 in Backwire',
    is: (step, found, {body}, {status}) => body === 'E_INVALID_TARGET_RECORD_IDS' && status === 404
  }
];

// Whether pushes are equal if records in the place of ids do not count.
function isEqual(sails, backwire) {
  const withoutRecords = value => {
    if (Array.isArray(value)) return value.map(withoutRecords);
    if (!value || typeof value !== 'object') return value;
    const isRecord = it => it === null || typeof it === 'object';
    return Object.fromEntries(Object.entries(value).filter(([name, it]) => !isRecord(it) && !ASSOCIATIONS.has(name)).map(([name, it]) => [name, withoutRecords(it)]));
  };
  const pushes = all => JSON.stringify(all.map(of => of.map(([model, {data, previous, ...rest}]) => [model, rest, withoutRecords(data), withoutRecords(previous)])));
  return pushes(sails) === pushes(backwire);
}

// The pushes that are not about associations alone.
function ofOthers(pushes) {
  const isOfNone = name => !ASSOCIATIONS.has(name) && !/^(\w+_)?id$|^updatedAt$/.test(name);
  const isOther = ([, {verb, data}]) => !/^(addedTo|removedFrom)$/.test(verb) && !(verb === 'updated' && !Object.keys(data).some(isOfNone));
  return pushes.map(of => of.filter(isOther));
}

function sorted(pushes) {
  const order = ([model, {verb, id}]) => `${model} ${verb} ${id}`;
  return pushes.map(of => [...of].sort((a, b) => (order(a) < order(b) ? -1 : 1)));
}

const ASSOCIATIONS = new Set([
  'pets', 'patients', 'profile', 'owner', 'bestFriend', 'vets', 'parents', 'children', 'bestFurryFriend', 'user', 'author', 'tags', 'articles'
]);
