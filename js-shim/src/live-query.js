// Live queries
// ------------

// A request whose answer a target shows, while the target is live.
export class LiveQuery {
  // The number by which the core knows the query, and the number of its target.
  number;
  target;

  // The request: its url, its headers, and both as one text.
  url;
  headers;
  text;

  // The resource and the room of the last answer, and the ids of its records.
  resource;
  room;
  ids = [];

  // Whether the target shows parts of records, or what a `parse` of the page makes of them.
  isShaped;

  // The `cid`s of the models that a mapped collection shows for this query.
  shown;

  // Whether the query of a mapped collection was sent again and is not answered yet, and whether
  // it has to be sent once more after that.
  isSentAgain;
  isStale;

  constructor(fields) {
    Object.assign(this, fields);
  }
}
