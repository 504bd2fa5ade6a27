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
  if (status) transport.showAnswer({status, responseText: text, response, responseURL: url});
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
