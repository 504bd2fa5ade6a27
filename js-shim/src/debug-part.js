// Part that logs the frames of the connection
// -------------------------------------------
//
// `Backwire.debug()` loads it. Each frame is one line on the console, with its data as an object
// that the console can unfold. The auth of a CONNECT is not logged, and neither are values with the
// name of a secret: headers, parameters of urls, conditions, and attributes at any depth.

import {CREATED, DESTROYED, LEFT, UPDATED} from './wire.js';

const VERBS = {[CREATED]: 'created', [UPDATED]: 'updated', [DESTROYED]: 'destroyed', [LEFT]: 'left'};

// Names of secrets.
const SECRET = new RegExp('^(proxy-)?auth(orization)?$|^(set-)?cookie$|^sid$|^session$|token|passw|passphrase|secret|credential|' +
  'csrf|xsrf|api[-_]?key|private[-_]?key|session[-_]?id', 'i');
const NOT_LOGGED = '(not logged)';

// Logs what a socket sends and receives from now on. `print(...parts)` writes a line, and `now()`
// is in milliseconds. Returns a function that ends it.
export function logFrames(socket, print, now) {
  const requests = new Map();
  const {onmessage, onclose} = socket;
  let isOn = true;
  const log = (arrow, text) => {
    if (isOn) attemptToLog(() => print(`Backwire ${arrow}`, ...described(text, requests, now())));
  };
  wrap(socket, 'send', text => log('→', text));
  wrap(socket, 'close', () => {
    if (isOn) attemptToLog(() => print('Backwire', 'close'));
    isOn = false;
  });
  socket.onmessage = event => {
    log('←', event.data);
    onmessage.call(socket, event);
  };
  socket.onclose = event => {
    if (isOn) attemptToLog(() => print('Backwire', 'closed by the other side or the network'));
    onclose.call(socket, event);
  };
  return () => { isOn = false; };
}

// Calls `before` before each call of a method, also if the method is replaced later: long-polling
// does that when its part is loaded.
function wrap(socket, name, before) {
  let method = socket[name];
  const wrapped = (...args) => {
    before(...args);
    return method.apply(socket, args);
  };
  Object.defineProperty(socket, name, {configurable: true, get: () => wrapped, set(other) { method = other; }});
}

// A frame that cannot be described must not keep it from the client.
function attemptToLog(log) {
  try {
    log();
  } catch {
    // The message of the error would have a part of the frame.
    console.error('Backwire: a frame could not be logged');
  }
}

// Returns the parts of the line of a frame, without secrets. `requests` has the sent requests by
// their ack ids.
export function described(text, requests = new Map(), now = 0) {
  return withoutSecrets(partsOf(text, requests, now));
}

function partsOf(text, requests, now) {
  const [, type, ack, json] = /^(\d[0-4]?)(\d*)(.*)$/s.exec(text) ?? [];
  if (type === '2') return ['ping'];
  if (type === '3') return ['pong'];
  if (type === '0') return ['open', JSON.parse(json)];
  if (type === '40') return json.includes('"sid"') ? ['connected'] : ['connect'];
  if (type === '41') return ['disconnect'];
  if (type === '44') return ['refused', JSON.parse(json)];
  if (type === '42') return describedEvent(JSON.parse(json), ack, requests, now);
  if (type === '43') return describedAnswer(JSON.parse(json)[0], ack, requests, now);
  return [`another frame, ${text.length} characters`];
}

function describedEvent([name, ...args], ack, requests, now) {
  if (name === 'push') return describedPush(...args);
  if (name === 'resume') {
    const [rooms] = args;
    requests.set(ack, {name: 'resume', at: now});
    return [`${ack} resume`, ...rooms.map(([room, , offset]) => `${room} after ${offset}`)];
  }
  const [about, ...rest] = args;
  if (!about?.url) return [[ack, name].filter(Boolean).join(' '), ...args];
  const line = `${name.toUpperCase()} ${about.url}`;
  requests.set(ack, {name: line, at: now});
  return [`${ack} ${line}`, ...[about.headers, about.data].filter(it => it !== undefined), ...rest];
}

function withoutSecrets(value) {
  if (typeof value === 'string') return textWithoutSecrets(value);
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (!value || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, SECRET.test(name) ? NOT_LOGGED : withoutSecrets(each)]));
}

// A text may be or contain a url, the name of a room (`todo?` and JSON), or JSON.
function textWithoutSecrets(text) {
  const json = /^\s*[[{]/.test(text) ? parsed(text) : undefined;
  if (json) return JSON.stringify(withoutSecrets(json));
  return text
    .replace(/\b(Bearer|Basic) \S+/gi, `$1 ${NOT_LOGGED}`)
    .replace(/\?[[{].*/s, scope => (hasSecret(scope) ? `?${NOT_LOGGED}` : scope))
    .replace(/([?&])([^=&#\s]+)=([^&#\s]*)/g, (_, start, name, value) => `${start}${name}=${parameterWithoutSecrets(decoded(name), value)}`);
}

function parameterWithoutSecrets(name, value) {
  if (hasSecret(name)) return NOT_LOGGED;
  const text = decoded(value);
  return hasSecret(text) ? textWithoutSecrets(text) : value;
}

// Whether a text has the name of a secret, as in `where[token]`.
function hasSecret(text) {
  return text.split(/[^\w-]+/).some(name => SECRET.test(name));
}

function decoded(text) {
  try {
    return decodeURIComponent(text.replace(/\+/g, ' '));
  } catch {
    return text;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function describedPush(room, epoch, prev, changes) {
  if (!room) return ['events for the user', ...changes.map(([, , , data]) => data)];
  return [`push ${room}`, ...changes.flatMap(([offset, verb, id, data]) => [`${offset}: ${VERBS[verb]} ${id}`, data])];
}

function describedAnswer(answer, ack, requests, now) {
  const {name = 'request', at = now} = requests.get(ack) ?? {};
  requests.delete(ack);
  const time = `(${Math.round(now - at)} ms)`;
  if (Array.isArray(answer)) {
    const rooms = answer.map(([room, epoch, head, changes]) => (epoch === null ? `${room}: to be read again` : `${room}: ${changes.length} ${changes.length === 1 ? 'change' : 'changes'} to ${head}`));
    return [`${ack} ${name} ${time}`, ...rooms];
  }
  const {statusCode, headers, body} = answer ?? {};
  return [`${ack} ${statusCode} ${name} ${time}`, ...[headers, body].filter(it => it !== undefined)];
}

export default {logFrames};
