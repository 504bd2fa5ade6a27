// Queries that a fetch has replaced
// ---------------------------------
//
// A fetch may replace the records of a collection while another collection still holds models of
// the former records, such as a list that grows page by page. A `PlaceholderCollection` stands in
// for a collection, so that the former query stays live.

import {NO_ROOM} from './answer.js';

class PlaceholderCollection {
  constructor() {
    this.models = [];
    this.comparator = true;
  }

  parse(list) {
    return list;
  }

  get() {}
  add() {}
  remove() {}
}

// Keeps a replaced query live. It is sent again, because only the server knows its present result.
export function keepQuery(live, {url, headers, resource, isShaped, ids}) {
  const placeholder = new PlaceholderCollection();
  const query = live.targets.enter(placeholder, url, headers, {resource, isShaped, room: NO_ROOM});
  live.placeholders.set(query.number, placeholder);
  live.read(query, true, {room: NO_ROOM, changed: []}, ids);
  live.refresh(NO_ROOM);
}
