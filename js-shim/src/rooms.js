// Who follows what
// ----------------
//
// A collection or a model that was read follows the room which that reading joined: `todo`, or
// `todo/7`. It stays there until it is stopped, or read from elsewhere, and is remembered with what is
// needed to read it again.
//
// Invariant: what the page holds or listens to goes on; what it has let go of may go, and leaves its rooms.
// So it is held weakly. Its listeners are held (Backbone's `_events`), and lead back to it.

export class Rooms {
  // `onEmpty(room)` is called when the last one has left.
  constructor(onEmpty) {
    // By room, by reference, readings by url.
    this._rooms = new Map();
    this._references = new WeakMap();
    this._registry = new FinalizationRegistry(reference => this._leave(reference));
    this._onEmpty = onEmpty;
  }

  // `reading` is `{url, options}`. With `remove: false` it adds to the former ones, as pages do;
  // otherwise it takes their place.
  enter(room, target, reading) {
    const adds = reading.options.remove === false && isCollection(target);
    this.leave(target, room, adds && reading.url);
    if (!this.has(room)) this._rooms.set(room, new Map());
    const targets = this._rooms.get(room);
    const reference = this._referenceTo(target);
    const readings = adds && targets.get(reference) || new Map();
    targets.set(reference, readings.set(reading.url, reading));
    hold(readings, target);
  }

  // Leaves every room but `kept`; with a url, those in which nothing else was read.
  leave(target, kept, url) {
    this._leave(this._references.get(target), kept, url);
  }

  _leave(reference, kept, url) {
    for (const [room, targets] of this._rooms) {
      const readings = targets.get(reference);
      if (room === kept || !readings || url && (!readings.delete(url) || readings.size)) continue;
      if (targets.delete(reference) && !targets.size) this.close(room);
    }
  }

  _referenceTo(target) {
    if (!this._references.has(target)) {
      const reference = new WeakRef(target);
      this._references.set(target, reference);
      this._registry.register(target, reference);
    }
    return this._references.get(target);
  }

  // Nobody follows anything any more, whoever goes.
  clear() {
    this._rooms.clear();
  }

  close(room) {
    if (this._rooms.delete(room)) this._onEmpty(room);
  }

  has(room) {
    return this._rooms.has(room);
  }

  all() {
    return [...this._rooms.keys()];
  }

  // The rooms of a resource, or of one record of it.
  of(resource, id) {
    return this.all().filter(room =>
      room === resource || room === `${resource}/${id}` || room.startsWith(`${resource}?`));
  }

  // Everyone in a room.
  targets(room) {
    return [...(this._rooms.get(room) ?? [])].flatMap(([reference, readings]) => {
      const target = reference.deref();
      if (target) hold(readings, target);
      return target ?? [];
    });
  }

  readings(room, target) {
    return [...(this._rooms.get(room)?.get(this._references.get(target))?.values() ?? [])];
  }

  // Has the collection read its whole resource, rather than what a query selects?
  isWhole(room, collection) {
    return this.readings(room, collection).some(reading => isWholeUrl(room + reading.url));
  }

  // Everyone whom a change of this record may concern. Which of the rooms it came through does not
  // matter.
  concerned(resource, id) {
    return new Set(this.of(resource, id).flatMap(room => this.targets(room)));
  }

  // The resource a model is of, if it follows a room by itself or in a collection.
  resourceOf(model) {
    for (const [room, targets] of this._rooms) {
      for (const reference of targets.keys()) {
        const target = reference.deref();
        if (target && (target === model || isCollection(target) && target.get(model) === model)) return splitRoom(room)[0];
      }
    }
  }

  // Is anyone left who needs this record?
  isWanted(resource, id) {
    return this.concerned(resource, id).size > 0;
  }
}

// Without listeners there is something that they will be added to.
function hold(readings, target) {
  readings._listeners = target._events ||= {};
}

export function isCollection(target) {
  return Array.isArray(target.models);
}

// A room says whether the server has selected, a url whether the page has.
export function isWholeUrl(roomAndUrl) {
  return !roomAndUrl.includes('?');
}

// `todo` and `7` of `todo/7`. Of the room of a filter, `todo?…`, it is the resource.
export function splitRoom(room) {
  const [, resource, id] = /^([^/?]*)(?:\/(.*))?/.exec(room);
  return [resource, id ?? null];
}
