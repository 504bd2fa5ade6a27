// From Ajax settings to a request
// -------------------------------
//
// What `Backbone.sync` hands to `Backbone.ajax` is written for jQuery. Here it becomes what travels:
// a verb, a url and a body of JSON text, all of them fixed at the call.

import {isPlain} from './records.js';
import {withQuery} from './url.js';

const VERBS = ['get', 'post', 'put', 'patch', 'delete'];

// Can a socket do what is asked? Not a blocking request, and not an upload of a form or a file.
export function isCarried(settings) {
  return settings.async !== false && VERBS.includes(verbOf(settings, {})) && isData(settings.data);
}

// `headers` are those set so far, in lower case: with `emulateHTTP` the real verb is among them.
// `made` is the data as Backbone made it, which is JSON for certain.
export function requestOf(settings, {headers, path, made, $}) {
  const method = verbOf(settings, headers);
  if (method !== 'get') return {method, url: path, body: bodyOf(settings, made)};
  return {method, url: withQuery(path, asked(settings.data), $, settings.traditional), body: undefined};
}

// Criteria are JSON in a query; spelled as a form's fields their values would all be strings.
function asked(data) {
  return isPlain(data?.where) ? {...data, where: JSON.stringify(data.where)} : data;
}

function verbOf(settings, headers) {
  const verb = headers['x-http-method-override'] || settings.method || settings.type || 'get';
  return verb.toLowerCase();
}

function isData(data) {
  return data == null || typeof data === 'string' ||
    /^\[object (Object|Array)\]$/.test(Object.prototype.toString.call(data));
}

// The body as JSON text. `emulateJSON` has put it into the form field `model`.
function bodyOf({data, contentType, emulateJSON}, made) {
  if (data == null) return undefined;
  if (typeof data === 'string') return data === made ? data : fromText(data, contentType);
  if (!emulateJSON) return JSON.stringify(data);
  if (typeof data.model === 'string') return fromText(data.model, 'json');
  const {_method, ...fields} = data;
  return Object.keys(fields).length ? JSON.stringify(fields) : undefined;
}

// Text of the page's own: JSON, or a form. What claims to be JSON and is not travels as a string, for
// the server to refuse.
function fromText(text, contentType) {
  if (text === '') return undefined;
  try {
    JSON.parse(text);
    return text;
  } catch {
    return JSON.stringify(/json/.test(contentType) ? text : Object.fromEntries(new URLSearchParams(text)));
  }
}
