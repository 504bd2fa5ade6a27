// Messages on the console
// -----------------------
//
// Each message is logged once.

import {sendOverHttp} from './http.js';

export class Notices {
  constructor(server) {
    this._server = server;
    this._logged = new Set();
  }

  // The list of an undeclared resource is empty. Perhaps another back end should serve it.
  emptyList(resource, path) {
    this._info(`the list at ${path} is empty. Backwire's own store answers it, and has no records of "${resource}". If another ` +
      `back end of yours has these records: start Backwire with --prefix (such as --prefix /live), so that it answers only urls ` +
      'below /live, or set `realtime: false` on the collection to keep it on plain Ajax.', `empty ${resource}`);
  }

  // A model or collection with its own `sync` sends no requests to Backwire, unless that calls
  // another one.
  ownSync(what, path, sync) {
    if (/\.(ajaxS|s)ync\b/.test(sync)) return;
    this._info(`the ${what} of ${path} has its own \`sync\`, so its requests do not go through Backwire. To make it live, set \`sync: Backwire.sync\`.`, sync);
  }

  ownAjax() {
    this._info('Backbone.ajax of this page does not use `settings.xhr`, so from now on Backwire does not call it for realtime models. ' +
      'Set `realtime: false` on models that need it.');
  }

  refused(reason) {
    this._isRefused = true;
    this._error(`the server refuses this page: ${reason}`);
  }

  blockedByPolicy() {
    this._isBlocked = true;
    this._error(`the page's content security policy does not let it connect to ${this._server}: add ` +
      `${this._server} and ${this._server.replace(/^http/, 'ws')} to its connect-src.`);
  }

  // The browser does not report why a socket cannot be opened. A request to the same url gets the
  // reason. A page that was online is allowed to connect.
  async findReason(page, socketUrl, wasOnline, refuse) {
    const about = `reason ${wasOnline}`;
    // The page has called `connect` since a refusal.
    this._isRefused = false;
    if (!page.fetch || this._isBlocked || this._logged.has(about)) return;
    this._logged.add(about);
    const {status, body} = await sendOverHttp(page, '', {method: 'get', url: socketUrl.replace(/^ws/, 'http')});
    if (this._isRefused || this._isBlocked) return;
    if (status === 403 && body?.code === 'E_ORIGIN') refuse(`E_ORIGIN: ${body.message}`);
    else if (!status && wasOnline) this._warn(`the connection to ${this._server} is lost. Writes wait, and are sent when it is restored.`);
    else if (!status) this._error(`the server at ${this._server} cannot be reached. Start it, or correct data-url (\`url\` of install). Writes wait until it answers.`);
    else if (status === 404 || status === 405) this._error(`${this._server} answers ${status} at ${new URL(socketUrl).pathname}. Correct data-url or data-path (\`url\` or \`path\` of install), or let the proxy pass this path on to Backwire.`);
    else if (status >= 500) this._warn(`${this._server} answers ${status} at the moment. Backwire tries again. If this lasts, look at the logs of the server and of its proxy.`);
  }

  _error(text) {
    this._once(text, message => console.error(message));
  }

  _warn(text) {
    this._once(text, message => console.warn(message));
  }

  _info(text, about) {
    this._once(text, message => console.info(message), about);
  }

  _once(text, log, about = text) {
    if (!this._logged.has(about)) log(`Backwire: ${text}`);
    this._logged.add(about);
  }
}

// The answer to a body over the limit.
export function tooLarge(limit) {
  return {code: 'E_TOO_LARGE', message: `the body is over the limit of ${limit} bytes`, field: 'body', limit};
}
