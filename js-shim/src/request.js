// From an XMLHttpRequest to a request on the socket
// -------------------------------------------------
//
// What the page's ajax layer opens and sends becomes a verb, a url, headers and a body of JSON text, all of
// them fixed at the call.

const VERBS = ['get', 'post', 'put', 'patch', 'delete'];
const OVERRIDE = 'x-http-method-override';

// The request that this transport is to send, or `null` if the socket cannot carry it: a blocking request, an
// upload, a login, an answer that is no text. `path` is the path and query of its url; `made` is the
// body as Backbone made it, which is JSON for certain.
export function requestOf(transport, path, body, made) {
  const {headers, method, isAsync, credentials, xhr: {responseType = ''}} = transport;
  const verb = (headers[OVERRIDE] || method).toLowerCase();
  const isText = body === null || typeof body === 'string';
  const canBeCarried = isAsync && isText && credentials[0] == null && /^(text|json)?$/.test(responseType);
  if (!canBeCarried || !VERBS.includes(verb)) return null;
  const json = verb === 'get' || !body ? undefined : body === made ? body : jsonOf(body, headers['content-type']);
  return json === null ? null : {method: verb, url: path, headers: carriedHeaders(headers), body: json};
}

// Headers that say what every request on the socket means anyway do not travel.
function carriedHeaders(headers) {
  const carried = {};
  for (const name in headers) {
    const isImplied = name === 'content-type' || name === OVERRIDE || name === 'accept' && /^application\/json,.*\*\/\*/.test(headers[name]);
    if (!isImplied) carried[name] = headers[name];
  }
  return carried;
}

// The body as JSON text, `null` if it is something else. `emulateJSON` has put it into the form field `model`.
// What claims to be JSON and is not travels as a string, for the server to refuse.
function jsonOf(text, type = '') {
  if (/\bx-www-form-urlencoded/.test(type)) return formAsJson(new URLSearchParams(text));
  if (isJson(text)) return text;
  return /\bjson/.test(type) ? JSON.stringify(text) : null;
}

// Names in brackets, and names that come again, are read by the server as it reads any form: over HTTP.
function formAsJson(form) {
  const fields = Object.fromEntries(form);
  delete fields._method;
  if (isJson(fields.model) && Object.keys(fields).length === 1) return fields.model;
  const isFlat = [...form].length === new Set(form.keys()).size && !/[[\]]/.test([...form.keys()]);
  if (!isFlat) return null;
  return Object.keys(fields).length ? JSON.stringify(fields) : undefined;
}

function isJson(text) {
  return parsed(text, isJson) !== isJson;
}

// What a text says as JSON; if it is none, the text itself or something else.
export function parsed(text, otherwise = text) {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

// The headers of an answer, by their names in lower case.
export function headersOf(xhr) {
  const lines = xhr.getAllResponseHeaders().trim().split(/\r?\n/);
  return Object.fromEntries(lines.map(line => {
    const [name, ...value] = line.split(': ');
    return [name.toLowerCase(), value.join(': ')];
  }));
}

export function isSuccess(status) {
  return status >= 200 && status < 300 || status === 304;
}
