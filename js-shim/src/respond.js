// Answers for the page
// --------------------

import {attempt} from './attempt.js';
import {isPlain} from './records.js';
import {isSuccess, parseJson} from './request.js';

// Passes an answer to the page's transport, or sets it on the model if there is no transport.
// Exchanges that were merged into this one get the same answer. Status 0 means that there is no
// answer; the body is the reason.
export function respond(exchange, status, body, headers) {
  const {transport, model, isSentByPage, mergedCreates} = exchange;
  for (const other of mergedCreates) respond(other, status, body, headers);
  if (transport) respondTo(transport, status, textOf(body, headers), headers);
  else if (model && !isSentByPage && isSuccess(status)) attempt(() => show(model, body));
}

function respondTo(transport, status, text, headers) {
  if (!transport.isPending) return;
  const {xhr, url} = transport;
  const response = xhr.responseType === 'json' ? parseJson(text, null) : text;
  transport.replyHeaders = headers;
  if (status) transport.show({status, statusText: STATUS_TEXTS[status] ?? '', responseText: text, response, responseURL: url});
  transport.end(status ? 'load' : 'error');
}

// Sets the answer to a save as Backbone does, where no callback of Backbone is called.
function show(model, body) {
  if (isPlain(body)) model.set(model.parse(body, {parse: true}), {realtime: true});
}

function textOf(body, headers) {
  if (body === undefined) return '';
  const isText = typeof body === 'string' && !/\bjson/.test(headers['content-type']);
  return isText ? body : JSON.stringify(body);
}

// The reason phrases with which the server answers over HTTP/1.1.
const STATUS_TEXTS = {
  200: 'OK', 201: 'Created', 202: 'Accepted', 203: 'Non Authoritative Information', 204: 'No Content', 205: 'Reset Content', 206: 'Partial Content',
  207: 'Multi-Status', 208: 'Already Reported', 226: 'IM Used', 300: 'Multiple Choices', 301: 'Moved Permanently', 302: 'Found', 303: 'See Other',
  304: 'Not Modified', 305: 'Use Proxy', 307: 'Temporary Redirect', 308: 'Permanent Redirect', 400: 'Bad Request', 401: 'Unauthorized',
  402: 'Payment Required', 403: 'Forbidden', 404: 'Not Found', 405: 'Method Not Allowed', 406: 'Not Acceptable', 407: 'Proxy Authentication Required',
  408: 'Request Timeout', 409: 'Conflict', 410: 'Gone', 411: 'Length Required', 412: 'Precondition Failed', 413: 'Payload Too Large',
  414: 'URI Too Long', 415: 'Unsupported Media Type', 416: 'Range Not Satisfiable', 417: 'Expectation Failed', 418: "I'm a teapot",
  421: 'Misdirected Request', 422: 'Unprocessable Entity', 423: 'Locked', 424: 'Failed Dependency', 425: 'Too Early', 426: 'Upgrade Required',
  428: 'Precondition Required', 429: 'Too Many Requests', 431: 'Request Header Fields Too Large', 451: 'Unavailable For Legal Reasons',
  500: 'Internal Server Error', 501: 'Not Implemented', 502: 'Bad Gateway', 503: 'Service Unavailable', 504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported', 506: 'Variant Also Negotiates', 507: 'Insufficient Storage', 508: 'Loop Detected', 510: 'Not Extended',
  511: 'Network Authentication Required'
};
