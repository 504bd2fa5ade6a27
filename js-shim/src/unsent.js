// What an earlier page could not send
// -----------------------------------
//
// While the server can not be asked, what is read shows what this browser has saved and not sent: created
// models, and edited records as they were when they were edited. The reply to the reading takes its place.

import {copy} from './records.js';
import {isCollection} from './rooms.js';

// `write` is one that was kept, `url` what `target` reads. The model that shows the write, if one does.
export function show({record, model, method, url: written}, target, url) {
  const room = method === 'post' || !isCollection(target) ? written : written.replace(/\/[^/]*$/, '');
  if (!record || room !== url || !isCollection(target) && method === 'post') return null;
  const options = {parse: true, merge: true, realtime: true};
  if (isCollection(target)) return target.add(model || copy(record), options);
  return target.set(target.parse(copy(record), options), options);
}
