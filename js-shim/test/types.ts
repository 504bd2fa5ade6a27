// A page in TypeScript: it must type-check, and its mistakes must not.

import Backwire, {type Backwire as Api, type LiveOption, type RealtimeOption, type Rejected, type Status} from '../src/index.js';

declare const Backbone: {
  sync(method: string, model: object, options?: object): unknown;
  ajax(settings: object): unknown;
  Events: {on(name: string, callback: () => void): void};
};
declare const todos: {fetch(options?: {reset?: boolean}): PromiseLike<unknown>};

const installed: Api = Backwire.install(Backbone, {url: 'http://localhost:1337', connect: false});
installed.connect().disconnect().stop(todos).uninstall();

const show = ({state, unsent}: Status): string => (state === 'offline' ? `offline, ${unsent} unsent` : state);
Backwire.on('status', show);
Backwire.off('status', show).off();
show(window.Backwire.status);

Backwire.install(Backbone, {site: 'shop', token: '12345', bind: {update_store: 'todo'}});
Backwire.socket.on('news', async (text: string, {id}: {id: string | null}) => console.log(text, id)).on('resync', () => {});
Backwire.on('undelivered', ({id, event, args}) => console.warn(id, event, args.length));

Backwire.socket.ignore('useless');
Backwire.on('rejected', ({write, status}: Rejected) => console.warn(write.method, write.url, status));
Backwire.once('refused', ({reason}) => console.warn(reason.length));
Backwire.on('unauthorized', () => { Backwire.connect({token: 'new'}); }).on('lost', ({url}) => console.warn(url));
Backwire.install(Backbone, {site: 'shop', token: async reason => reason ?? 'new'});
Backwire.connect({token: () => 'new', identity: 7});
Backwire.install(Backbone, {token: '12345', auth: {room: 'chat', seats: [1, 2]}});
Backwire.on('expires', () => { Backwire.connect({token: 'new', auth: {room: 'other'}}); });
const plain: RealtimeOption = {realtime: false};
Backwire.install({default: Backbone}, {});
Backwire.sync('read', todos, plain);
Backwire.ajaxSync('read', todos);

Backwire.install(Backbone, {shared: true, identity: 7});
Backwire.install(Backbone, {realtime: 'optin', fallback: 'ajax', adopt: {'todos-backbone': '/todos'}});
Backwire.on('queued', ({write, model}) => console.warn(write.url, model)).on('saved', ({write}) => console.warn(write.method));
const once: LiveOption = {live: false};
const unsent: string[] = Backwire.clear().pending().map(({method, url, model}) => `${method} ${url} ${model} ${once.live}`);
if (Backwire.isPending(todos)) console.warn(unsent);

if (Backwire.error instanceof Error) console.warn(Backwire.error.message);

// @ts-expect-error: the status is read-only.
Backwire.status = {state: 'online', unsent: 0};
// @ts-expect-error: a token is a text.
Backwire.connect({token: () => 7});
// @ts-expect-error: there is no such event.
Backwire.on('connected', () => {});
// @ts-expect-error: a status is no rejected write.
Backwire.on('status', ({write}) => console.warn(write));
// @ts-expect-error: there is no such fallback.
Backwire.install(Backbone, {fallback: 'http'});
// @ts-expect-error: a view cannot be stopped.
Backwire.stop({render() {}});
// @ts-expect-error: without Backbone there is nothing to install into.
Backwire.install();
