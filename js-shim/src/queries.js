// The core's live queries
// -----------------------
//
// The core decides which records each target shows and which queries are sent again
// (`protocol/src/live.rs`). Calls carry numbers and one text: see `client-wasm/src/queries.rs`.

const TEXTS = '\x01';
const ITEMS = '\0';

export class Queries {
  // `core` is the wasm part.
  constructor(core) {
    this._core = core;
  }

  // A fetch by the page for this target was sent.
  beginRead(target) {
    this._act(0, target);
  }

  // The fetch was answered (then `read` is called first), has failed or was aborted.
  endRead(target) {
    this._act(1, target);
  }

  // A fetch by the page was answered, and Backbone has set the answer. `changed` names the
  // attributes in which records of the answer differ from the known ones.
  read(query, target, replaces, hasOwnOrder, {room, description, changed}, ids) {
    this._act(2, query, target, replaces + 2 * hasOwnOrder, room, description, ids, changed);
  }

  // A query that was sent again was answered, or a read that no target follows.
  answered(query, {room, description, changed}, ids) {
    this._act(3, query, 0, 0, room, description, ids, changed);
  }

  // A query that was sent again has failed: for good (`isGone`), or until `retry`.
  failed(query, isGone) {
    this._act(4, query, 0, isGone);
  }

  retry() {
    this._act(5);
  }

  // Records of a room have changed. `verb` is as on the wire. `names` are the attributes that an
  // update has changed, if these are not the ones of its `data`.
  changed(room, changes, names) {
    let text = room;
    for (const {verb, id, data} of changes) text += TEXTS + verb + id + TEXTS + [...names ?? Object.keys(data ?? {})].join(ITEMS);
    this._core.act(6, 0, 0, 0, text);
  }

  // The room has lost its position in the log.
  refresh(room) {
    this._act(7, 0, 0, 0, room);
  }

  refreshAll() {
    this._act(8);
  }

  stop(target) {
    this._act(9, target);
  }

  isFollowed(room) {
    return this._act(10, 0, 0, 0, room);
  }

  // The next output, or undefined: `['ask', query]`, `['leave', room]` or
  // `['show', target, added, removed, order]`.
  poll() {
    const output = this._core.poll();
    if (output === undefined) return undefined;
    const [what, about, ...lists] = output.split(TEXTS);
    return [what, what === 'leave' ? about : Number(about), ...lists.map(list => (list ? list.split(ITEMS) : []))];
  }

  _act(operation, number = 0, target = 0, flags = 0, ...texts) {
    const text = texts.map(it => (it && typeof it !== 'string' ? [...it].join(ITEMS) : it ?? '')).join(TEXTS);
    return this._core.act(operation, number, target, flags, text);
  }
}
