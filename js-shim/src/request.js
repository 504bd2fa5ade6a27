// From an XMLHttpRequest to a request on the socket
// -------------------------------------------------
//
// Turns a request of the page's ajax layer into a verb, a url, headers and a body of JSON text. All
// of them are fixed at the call.

const VERBS = ['get', 'post', 'put', 'patch', 'delete'];
const OVERRIDE = 'x-http-method-override';

// The request of this transport, or `null` if the socket cannot carry it: a blocking request, an
// upload, malformed JSON, a request with credentials, a response type other than text or JSON.
// `path` is the path and query of its url. `made` is the body that Backbone made, which is known to
// be JSON.
export function requestOf(transport, path, made) {
  const {headers, method, isAsync, credentials, sentBody: body, xhr: {responseType = ''}} = transport;
  const form = /\bx-www-form-urlencoded/.test(headers['content-type']) ? new URLSearchParams(body ?? '') : null;
  const verb = verbOf(method, headers[OVERRIDE], form?.get('_method'));
  const isText = body === null || typeof body === 'string';
  const canBeCarried = isAsync && isText && credentials[0] == null && /^(text|json)?$/.test(responseType);
  if (!canBeCarried || !VERBS.includes(verb)) return null;
  const json = verb === 'get' || !body ? undefined : body === made ? body : form ? formAsJson(form) : isJson(body) ? body : null;
  return json === null ? null : {method: verb, url: path, headers: carriedHeaders(headers), body: json};
}

// The verb of a request. A POST may stand for another one, by a header or by a field of its form.
function verbOf(method, ...names) {
  const intended = names.map(name => (name ?? '').toLowerCase()).find(name => /^(put|patch|delete)$/.test(name));
  return method === 'POST' && intended || method.toLowerCase();
}

// Drops the headers that every request on the socket implies.
function carriedHeaders(headers) {
  const carried = {};
  for (const name in headers) {
    const isImplied = name === 'content-type' || name === OVERRIDE || name === 'accept' && /^application\/json,.*\*\/\*/.test(headers[name]);
    if (!isImplied) carried[name] = headers[name];
  }
  return carried;
}

// With `emulateJSON` the JSON is in the form field `model`. Returns `null` for names in brackets
// and for repeated names: the server parses such a form over HTTP.
function formAsJson(form) {
  const fields = Object.fromEntries(form);
  delete fields._method;
  if (isJson(fields.model) && Object.keys(fields).length === 1) return fields.model;
  const isFlat = [...form].length === new Set(form.keys()).size && !/[[\]]/.test([...form.keys()]);
  if (!isFlat) return null;
  return Object.keys(fields).length ? JSON.stringify(fields) : undefined;
}

function isJson(text) {
  return parseJson(text, isJson) !== isJson;
}

// Parses JSON. Returns `otherwise`, by default the text itself, if the text is not JSON.
export function parseJson(text, otherwise = text) {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

// The response headers, by their names in lower case.
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
