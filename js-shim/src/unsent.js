// What an earlier page could not send
// -----------------------------------
//
// While the server cannot be asked, what is read shows what this browser has saved and not sent: created
// models, and edited records as they were when they were edited. The reply to the reading takes its place.

import {CREATE, SAVE} from './kinds.js';
import {copy} from './records.js';
import {isCollection} from './targets.js';
import {plainPath} from './url.js';

// `write` is one that was kept, `url` what `target` reads. The model that shows the write, if one does.
export function show({record, model, method, kind, url: written}, target, url) {
  const isShown = record && method !== 'delete' && (kind === CREATE || kind === SAVE);
  if (!isShown || !isOf(written, kind, target, url, record) || !isPicked(record, url)) return null;
  const options = {parse: true, merge: true, realtime: true};
  if (!isCollection(target)) return target.set(target.parse(copy(record), options), options);
  const [shown] = [target.add(model || copy(record), options)].flat();
  return isCollection(shown) ? target.get(record) ?? target.models.at(-1) : shown;
}

// Is what was written at one url among what is read at the other? How they are spelled does not matter.
function isOf(written, kind, target, url, record) {
  const [write, read] = [written, url].map(plainPath);
  if (!isCollection(target)) return kind === SAVE && write === read;
  const own = record[target.model?.prototype?.idAttribute || 'id'];
  return write === read || kind === SAVE && own != null && write === `${read}/${encodeURIComponent(own)}`.toLowerCase();
}

const NOT_A_FILTER = /^(where|sort|skip|limit|select|omit|populate|page|per_page|offset|order|_)(\[|$)/;

// Does a record have the values that the query asks for? What is more than equality only the server can say.
function isPicked(record, url) {
  const query = new URLSearchParams(url.split('?')[1]);
  return [...query].every(([name, value]) => NOT_A_FILTER.test(name) || !(name in record) || String(record[name]) === value);
}
