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
    is: ({method, url}, found, sails, {status}) => method === 'get' && /\/(create|update|destroy)\b/.test(url) && status === 403
  },
  {
    about: 'In Sails the parameters of a request have its CSRF token',
    is: (step, {path, backwire}) => path === '/body/all/_csrf' && backwire === undefined
  },
  {
    about: 'In Sails a path that looks like a file has no session, so a write is refused',
    is: ({method, url}, found, {status}, backwire) => method !== 'get' && /\.\w+$/.test(url.split('?')[0]) && status === 403 && backwire.status !== 403
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
    about: 'Sails refuses null in the list of in and nin, and Backwire understands it',
    is: ({url}, found, {body}, {status}) => /:\[([^\]]*,)?null[,\]]/.test(url) && body === 'E_INVALID_CRITERIA' && isOk(status)
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

// Whether pushes are equal if a record counts as its id.
function isEqual(sails, backwire) {
  const idOf = it => (it && typeof it === 'object' ? it.user_id ?? it.pet_id ?? it.id : it);
  const ids = it => (Array.isArray(it) ? it.map(idOf).sort() : idOf(it));
  const withIds = record => record && Object.entries(record).map(([name, it]) => [name, ASSOCIATIONS.has(name) ? ids(it) : it]);
  const pushes = all => JSON.stringify(all.map(of => of.map(([model, {data, previous, ...rest}]) => [model, rest, withIds(data), withIds(previous)])));
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
