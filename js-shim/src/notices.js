// What the developer is told on the console
// -----------------------------------------
//
// Each once, however often it happens.

import {sendOverHttp} from './http.js';

export class Notices {
  constructor(server) {
    this._server = server;
    this._told = new Set();
  }

  // A list that nobody has declared is empty: perhaps it is meant to come from somewhere else.
  emptyList(resource, path) {
    this._info(`the list at ${path} is empty. Backwire's own store answers it, and has no records of "${resource}". If another ` +
      `back end of yours answers ${path}: start Backwire with --prefix (such as --prefix /live), so that only urls below ` +
      'it are Backwire\'s, or set `realtime: false` on the collection to keep it on plain Ajax.', `empty ${resource}`);
  }

  // A model that never asks us.
  ownSync(path) {
    this._info(`the model of ${path} has its own \`sync\`, which stays in charge: its requests do not go through Backwire.`);
  }

  ownAjax() {
    this._info('Backbone.ajax of this page does not use `settings.xhr`. From its second call on Backwire replaces it for realtime ' +
      'models; set `realtime: false` where it must stay.');
  }

  blockedByPolicy() {
    this._once(`the page's content security policy does not let it connect to ${this._server}: add ` +
      `${this._server.replace(/^http/, 'ws')} to its connect-src.`, text => console.error(text));
  }

  // A socket that cannot be opened does not say why; the same url, asked for by a request, does.
  async findReason(page, socketUrl, refuse) {
    if (!page.fetch || this._told.has('reason')) return;
    this._told.add('reason');
    const {status, body} = await sendOverHttp(page, '', {method: 'get', url: socketUrl.replace(/^ws/, 'http')});
    if (status === 403 && body?.code === 'E_ORIGIN') refuse(`E_ORIGIN: ${body.message}`);
  }

  _info(text, about) {
    this._once(text, told => console.info(told), about);
  }

  _once(text, log, about = text) {
    if (!this._told.has(about)) log(`Backwire: ${text}`);
    this._told.add(about);
  }
}
