// What the developer is told on the console
// -----------------------------------------
//
// Each once, however often it happens.

export class Notices {
  constructor(server) {
    this._server = server;
    this._told = new Set();
  }

  // Something that works in another way than one may think.
  info(text, about = text) {
    if (this._isNew(about)) console.info(`Backwire: ${text}`);
  }

  // Something that does not work.
  error(text, about = text) {
    if (this._isNew(about)) console.error(`Backwire: ${text}`);
  }

  // A list that nobody has declared is empty: perhaps it is meant to come from somewhere else.
  emptyList(resource, path) {
    this.info(`the list at ${path} is empty. Backwire's own store answers it, and has no records of "${resource}". If another ` +
      `back end of yours answers ${path}: start Backwire with --prefix (such as --prefix /live), so that only urls below ` +
      'it are Backwire\'s, or set `realtime: false` on the collection to keep it on plain Ajax.', `empty ${resource}`);
  }

  // A model or a collection that never asks us.
  ownSync(name) {
    this.info(`${name} has its own \`sync\`, which stays in charge: its requests do not go through Backwire.`, `sync ${name}`);
  }

  originRefused(origin, reason) {
    this.error(reason || `${this._server} does not accept connections from pages of ${origin}: start it with --origin ${origin}.`, 'origin');
  }

  blockedByPolicy(directive) {
    this.error(`the page's content security policy does not let it connect to ${this._server}: add it to ${directive}.`, 'policy');
  }

  _isNew(about) {
    const isNew = !this._told.has(about);
    this._told.add(about);
    return isNew;
  }
}
