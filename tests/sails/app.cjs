// A small Sails 1.5 app, started with `PORT=… node tests/sails/app.cjs`
// --------------------------------------------------------------------
//
// `tests/tests/stories/sails/fixtures.rs` is the same app with Backwire. `compare.mjs` starts both.

'use strict';

const sails = require('sails');

const key = {type: 'number', autoIncrement: true};
const string = {type: 'string'};
const one = model => ({model});
const many = (collection, via) => ({collection, via});

// The models of the app, with the attributes that each of them has besides its key.
const models = {
  user: {
    primaryKey: 'user_id',
    attributes: {
      name: string, pets: many('pet', 'owner'), patients: many('pet', 'vets'), profile: many('userprofile', 'user')
    }
  },
  pet: {
    primaryKey: 'pet_id',
    attributes: {
      name: string, isPet: {type: 'boolean', defaultsTo: true}, owner: one('user'), bestFriend: one('user'),
      vets: many('user', 'patients'), parents: many('pet', 'children'), children: many('pet', 'parents'),
      bestFurryFriend: one('pet')
    }
  },
  userprofile: {attributes: {zodiac: string, user: one('user')}},
  person: {
    attributes: {
      name: string, email: {...string, isEmail: true}, age: {type: 'number'}, admin: {type: 'boolean'},
      meta: {type: 'json'}, pets: many('animal', 'owner')
    }
  },
  animal: {
    attributes: {
      name: {...string, required: true, unique: true}, kind: {...string, isIn: ['cat', 'dog', 'bird'], defaultsTo: 'cat'},
      weight: {type: 'number', min: 0}, owner: one('person')
    }
  },
  article: {
    attributes: {
      title: {...string, required: true, maxLength: 20}, subtitle: {...string, allowNull: true}, author: one('person'),
      tags: many('tag', 'articles')
    }
  },
  tag: {attributes: {label: string, articles: many('article', 'tags')}},
  // For `compare.mjs`, which waits for the push of a new record.
  fence: {attributes: {label: string}}
};

function definition(identity, {primaryKey = 'id', attributes}) {
  const globalId = identity[0].toUpperCase() + identity.slice(1);
  return {identity, globalId, primaryKey, attributes: {[primaryKey]: key, ...attributes}};
}

const text = (status, body) => (req, res) => res.status(status).send(body);
const header = (req, res) => res.send(req.get('x-test-header-one'));

const routes = {
  'GET /hello': text(200, 'ok!'),
  'POST /hello': text(200, 'posted!'),
  'PUT /hello': text(200, 'putted!'),
  'PATCH /hello': text(200, 'patched!'),
  'DELETE /hello': text(200, 'deleted!'),
  'GET /someJSON': (req, res) => res.json({foo: 'bar'}),
  'GET /someNull': (req, res) => res.json(null),
  'GET /someZero': (req, res) => res.json(0),
  'GET /someError': (req, res) => res.status(501).json({blah: 'blah'}),
  'GET /foo': text(200, 'foo'),
  'GET /bar': text(200, 'bar'),
  'GET /headers': header,
  'GET /headersOverride': header,
  'GET /headersRemove': header,
  'POST /auth': (req, res) => res.send(req.socket.handshake.query.token),
  'GET /ok': (req, res) => setTimeout(() => res.send(req.param('x')), 100),
  'GET /count'(req, res) {
    if (!req.session) return res.send('NOSESSION');
    req.session.count = (req.session.count || 0) + 1;
    return res.json(req.session.count);
  },
  '/echo': (req, res) => res.json({method: req.method, all: req.allParams()}),
  'GET /csrfToken': {action: 'security/grant-csrf-token'},
  'GET /throw'() {
    throw new Error('this handler fails');
  },
  'PUT /forbidden': text(403, 'Forbidden'),
  'POST /_fixture/blast'(req, res) {
    sails.sockets.blast(req.param('event'), req.param('data'));
    res.send('ok');
  }
};

const settings = {
  appPath: __dirname,
  port: Number(process.env.PORT),
  environment: 'development',
  log: {level: 'error'},
  hooks: {grunt: false, orm: require('sails-hook-orm'), sockets: require('sails-hook-sockets')},
  globals: {models: false, _: false, async: false, sails: true},
  datastores: {default: {inMemoryOnly: true}},
  orm: {
    moduleDefinitions: {
      models: Object.fromEntries(Object.entries(models).map(([name, model]) => [name, definition(name, model)]))
    }
  },
  models: {
    schema: true,
    migrate: 'drop',
    cascadeOnDestroy: true,
    attributes: {createdAt: {type: 'number', autoCreatedAt: true}, updatedAt: {type: 'number', autoUpdatedAt: true}},
    dataEncryptionKeys: {default: Buffer.alloc(32, 7).toString('base64')}
  },
  blueprints: {actions: false, rest: true, shortcuts: true},
  routes,
  security: {csrf: Boolean(process.env.CSRF)},
  sockets: {transports: ['polling', 'websocket']},
  session: {secret: '0123456789abcdef0123456789abcdef'}
};

// Engine.IO 6 reads and writes text over polling as Socket.IO 2 does. Socket.IO 1, which
// sails.io.js 0.13 has, encodes the characters of a packet as UTF-8 first. It takes the "•" in the
// errors of Sails for a quotation mark, and drops such an answer. So these sockets get the parser
// of their time.
function parserOfSocketIo1(parser) {
  const convert = (data, from, to) => (typeof data === 'string' ? Buffer.from(data, from).toString(to) : data);
  return {
    encodePayload: (packets, supportsBinary, done) => parser.encodePayload(
      packets.map(packet => ({...packet, data: convert(packet.data, 'utf8', 'latin1')})), supportsBinary, done
    ),
    decodePayload: (payload, take) => parser.decodePayload(
      payload, (packet, ...at) => take({...packet, data: convert(packet.data, 'latin1', 'utf8')}, ...at)
    )
  };
}

function isOfSocketIo1({protocol, request, transport}) {
  return protocol === 3 && transport.name === 'polling' && request._query.__sails_io_sdk_version.startsWith('0.');
}

sails.lift(settings, error => {
  if (error) {
    console.error(error);
    process.exit(1);
  }
  sails.io.engine.on('connection', connection => {
    const {transport} = connection;
    if (isOfSocketIo1(connection)) transport.parser = parserOfSocketIo1(transport.parser);
  });
  console.log('READY');
});
