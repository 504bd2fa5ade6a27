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

  // An undeclared list is empty. Another back end may be meant to serve it.
  emptyList(resource, path) {
    this._info(`the list at ${path} is empty. Backwire's own store answers it, and has no records of "${resource}". If another ` +
      `back end of yours answers ${path}: start Backwire with --prefix (such as --prefix /live), so that only urls below ` +
      'it are Backwire\'s, or set `realtime: false` on the collection to keep it on plain Ajax.', `empty ${resource}`);
  }

  // A model with its own `sync` sends no requests to Backwire.
  ownSync(path) {
    this._info(`the model of ${path} has its own \`sync\`, which stays in charge: its requests do not go through Backwire.`);
  }

  ownAjax() {
    this._info('Backbone.ajax of this page does not use `settings.xhr`. From its second call on Backwire replaces it for realtime ' +
      'models; set `realtime: false` where it must stay.');
  }

  refused(reason) {
    this._isRefused = true;
    this._error(`the server refuses this page: ${reason}`);
  }

  // Without a site the server does not know what a token means.
  tokenWithoutSite() {
    this._error('`token` has no effect without `site`. Name the site of the server that checks the token, with `site` or ' +
      'data-site; or leave the token out, and sign users in with a session.');
  }

  blockedByPolicy() {
    this._isRefused = true;
    this._error(`the page's content security policy does not let it connect to ${this._server}: add ` +
      `${this._server.replace(/^http/, 'ws')} to its connect-src.`);
  }

  // The browser does not report why a socket cannot be opened. A request to the same url gets the
  // reason. A page that was online is allowed to connect.
  async findReason(page, socketUrl, wasOnline, refuse) {
    const about = `reason ${wasOnline}`;
    if (!page.fetch || this._isRefused || this._logged.has(about)) return;
    this._logged.add(about);
    const {status, body} = await sendOverHttp(page, '', {method: 'get', url: socketUrl.replace(/^ws/, 'http')});
    if (this._isRefused) return;
    if (status === 403 && body?.code === 'E_ORIGIN') refuse(`E_ORIGIN: ${body.message}`);
    else if (!status && wasOnline) this._warn(`the connection to ${this._server} is lost. Writes wait, and are sent when the server is back.`);
    else if (!status) this._error(`the server at ${this._server} cannot be reached. Start it, or correct data-url. Writes wait until it is there.`);
    else if (status === 404 || status === 405) this._error(`${this._server} answers ${status} at ${new URL(socketUrl).pathname}. Correct data-url or data-path, or let the proxy before Backwire pass this path on.`);
    else if (status >= 500) this._warn(`${this._server} answers ${status} at the moment. Backwire goes on to connect. If this lasts, look at the logs of the server and of the proxy before it.`);
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
