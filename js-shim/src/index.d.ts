/** The state of the connection to the server. */
export interface Status {
  /** `connecting` is the first attempt, or the first after the connection broke. */
  readonly state: 'online' | 'connecting' | 'offline';
  /** Unanswered writes that cannot be sent at the moment. */
  readonly unsent: number;
}

/** Backbone from version 0.5.3 on, or a module namespace whose default export is Backbone. */
export type BackboneLike = {sync(...args: any[]): any; Events: object} | {default: any};

/** How to install. */
export interface InstallOptions {
  /**
   * Any url of the server; only its origin counts. The default is the origin of the script tag, or
   * of the page for the ES module.
   */
  url?: string;
  /**
   * The path of Socket.IO, if the server has another one than `/socket.io/`: its setting `io.path`,
   * or `/api/socket.io/` if its router is nested at `/api`.
   */
  path?: string;
  /** `false`: stay offline until `connect()`. */
  connect?: boolean;
  /**
   * The user of the page, such as a user id. Writes that were kept while offline are sent only
   * for the identity that made them. Those of other identities wait until these install again.
   */
  identity?: string | number;
  /** The site of the push service that the page belongs to. */
  site?: string;
  /**
   * The user's token. It is sent when connecting, never in a url. With `site` the site's back end
   * checks it. Without it a function of `on_connect` in your server has to.
   */
  token?: Token;
  /**
   * Members that are sent when connecting, beside the token. A function of `on_connect` in your
   * server can read them.
   */
  auth?: Readonly<Record<string, unknown>>;
  /**
   * Events about records, and the resources of these: `{update_store: 'todo'}`. The record is the
   * last object among the arguments. A text that begins with `remove`, `delete` or `destroy` means
   * that the record is destroyed.
   */
  bind?: Readonly<Record<string, string>>;
  /** `'optin'`: only what sets `realtime: true` goes over the socket (see `RealtimeOption`). */
  realtime?: 'optin';
  /**
   * `'ajax'`: while the page is offline, requests go by plain Ajax and fail as they do without
   * Backwire. Without it they wait. A write that waited before comes first.
   */
  fallback?: 'ajax';
  /**
   * The tabs of a browser with the same server and identity share one connection. Without Web Locks
   * (plain http), and with `site`, `token` or `auth`, each tab has its own.
   */
  shared?: boolean;
  /**
   * The names of stores of a `localStorage` plugin, and the urls that their models and collections
   * get: `{'todos-backbone': '/todos'}`. Records that the plugin has stored are not sent.
   */
  adopt?: Readonly<Record<string, string>>;
}

/**
 * A token, or a function that returns it or a promise of it. The function is called before each
 * connect. `reason` is undefined, or why the server has refused the last token. If it then returns
 * the same token, the connection stays refused.
 */
export type Token = string | ((reason?: string) => string | PromiseLike<string>);

/** How to connect again. */
export interface ConnectOptions {
  /** Replaces the token of `install`. An open connection is replaced as well. */
  token?: Token;
  /** Replaces members of the `auth` of `install`, and an open connection as well. */
  auth?: Readonly<Record<string, unknown>>;
  /**
   * The user. Another user than before begins again, as if by `install`: requests without a reply
   * are aborted, and writes that were kept for the former user wait for that one. Give the token of
   * the user, too, if it is not a function.
   */
  identity?: string | number;
}

/**
 * The option of models, collections, their classes and single calls (`fetch`, `save`, `destroy`,
 * `create`): `false` sends them by plain Ajax. The nearest setting counts: options, then the model,
 * then its collection. After an installation with `realtime: 'optin'`, the default is `false`.
 */
export interface RealtimeOption {
  realtime?: boolean;
}

/**
 * The option of models, collections, their classes and calls of `fetch`: `false` reads once over
 * the socket, and later changes do not arrive. The nearest setting counts.
 */
export interface LiveOption {
  live?: boolean;
}

/** An event that its handler could not process. */
export interface Undelivered {
  readonly id: string | null;
  readonly event: string;
  readonly args: readonly any[];
  readonly error: unknown;
}

/** A write of this page, or of an earlier one. */
export interface Write {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  /** JSON text. */
  readonly body?: string;
}

/** A write, and the model or collection that it belongs to, or null if that is not known. */
export interface PendingWrite extends Write {
  readonly model: any;
}

/** A write that waits, or had waited and is saved now. */
export interface WaitingWrite {
  readonly write: Write;
  /** The model or collection, or null if that is not known. */
  readonly model: any;
}

/** A write that an earlier page has kept while offline, and that the server has refused. */
export interface Rejected {
  readonly write: Write;
  /** As in HTTP. */
  readonly status: number;
  /** The model that shows it, if one does. It gets an `error` event, too. */
  readonly model: any;
}

/** A connection that the server has refused. */
export interface Refused {
  /** The reason begins with a code: `E_ORIGIN`, `E_SITE`, `E_TOKEN`, `E_DEVICE`, `E_VERSION`. */
  readonly reason: string;
}

/** What came after a reconnect. */
export interface Resume {
  /** Whether the server had all missed changes. If not, `resync` tells what is read again. */
  readonly recovered: boolean;
  /** The number of changes that have arrived. */
  readonly count: number;
}

/** Everything that `Backwire.on` reports, by the name of the event. */
export interface Events {
  /** The state of the connection has changed. */
  status: Status;
  /** Missed changes have arrived, after a reconnect or when some were missing. */
  resume: Resume;
  /** A live collection or model is read again, because the server no longer has its changes. */
  resync: {readonly target: Fetchable};
  /** A write cannot be sent now, and waits. Its model gets `backwire:queued`, too. */
  queued: WaitingWrite;
  /** A write that had waited is saved. Its model gets `backwire:saved`, too. */
  saved: WaitingWrite;
  /** A write was not answered for a week, and is given up. It may have been executed or not. */
  lost: Write;
  /** A write that was kept over a reload was refused, and is given up. */
  rejected: Rejected;
  /** A handler of a pushed event has failed three times; the event is skipped. */
  undelivered: Undelivered;
  /** The server refuses the connection. It is not tried again until `connect()`. */
  refused: Refused;
  /**
   * A write that had waited offline was answered 401. It is sent again if the user signs in and the
   * page calls `disconnect()` and `connect()`, or `connect({token})`.
   */
  unauthorized: undefined;
  /**
   * The token of the connection is about to expire. A token function is asked for another one. A
   * page whose token is a text calls `connect({token})`.
   */
  expires: undefined;
}

/** Events that back ends send to the user of the page. */
export interface Deliveries {
  /**
   * Calls `handler(...args, {id})` for each event of this name, once and in the order of sending.
   * The next event waits until the handler returns and its promise is resolved. Then the server
   * forgets the event for this tab. A handler that throws is called three times at most, and then
   * `Backwire.on('undelivered')` is called. `id` is null for events to a room of several people.
   *
   * An event without a handler waits, and the events after it wait too. The console warns after ten
   * seconds.
   *
   * The event `resync` means that events were missed. If it has no handler, all live collections
   * and models are read again.
   *
   * `on` may be called at any time, also before `install`. The handler stays until another replaces
   * it, over `uninstall` and the next `install`. After `uninstall` no handler is called. An event
   * whose handler was not done by then is sent again when Backwire is installed on this tab again.
   *
   * @example
   * Backwire.socket.on('update_store', (type, record) => store.put(type, record));
   */
  on(event: string, handler: (...args: any[]) => unknown): this;

  /** Drops events of this name. */
  ignore(event: string): this;
}

/** A `Backbone.Collection` or a `Backbone.Model`. */
export interface Fetchable {
  fetch(options?: any): any;
}

/** `window.Backwire` of the script tag, and the default export of the ES module. */
export interface Backwire {
  /** The state of the connection. A new object whenever it changes. */
  readonly status: Status;

  /**
   * The error, if Backwire could not start or has failed: the browser or the content security
   * policy does not allow WebAssembly, for example. `Backbone.sync` then works as without Backwire.
   */
  readonly error: unknown;

  /**
   * Replaces `Backbone.sync`, in the same turn, and connects. From then on collections and models
   * are live once they are fetched: changes made elsewhere arrive as `add`, `change`, `remove` and
   * `destroy`, with `realtime: true` in their options. A collection or model that the page neither
   * holds nor listens to is garbage-collected, and unsubscribed.
   *
   * These stay on plain Ajax: requests with `realtime: false` on the model, its collection, their
   * class or in options; absolute urls of another origin; and models with a `sync` of their own.
   *
   * @example
   * Backwire.install(Backbone, {url: 'http://localhost:1337'});
   */
  install(Backbone: BackboneLike, options?: InstallOptions): this;

  /**
   * Restores the original `Backbone.sync`. If another script has wrapped Backwire's `sync`, that
   * only passes calls on from now on. Requests without a reply are aborted.
   */
  uninstall(): this;

  /** Connects. After `disconnect()` or a refused connection it tries again and catches up. */
  connect(options?: ConnectOptions): this;

  /** Goes offline on purpose. Reads and writes wait, in order, until `connect()`. */
  disconnect(): this;

  /** Events of back ends. Available before Backwire is installed, too. */
  readonly socket: Deliveries;

  /**
   * Backwire's `sync`, for models and collections of a page with another `Backbone.sync`.
   *
   * @example
   * const Todo = Backbone.Model.extend({urlRoot: '/todo', sync: Backwire.sync});
   */
  sync(...args: any[]): any;

  /** The page's own `sync`, for models and collections that stay on plain Ajax. */
  ajaxSync(...args: any[]): any;

  /** Whether a model, or a model of a collection, has a write without an answer. */
  isPending(target: Fetchable): boolean;

  /** The writes without an answer, oldest first. Also those that an earlier page has kept. */
  pending(): PendingWrite[];

  /**
   * Drops the writes without an answer: they are not sent any more, and their calls get `error`. A
   * write that was sent already may be saved nevertheless. Models keep what they show until they
   * are fetched.
   */
  clear(): this;

  /** Logs each frame of the connection on the console, without the token; `false` ends that. */
  debug(isOn?: boolean): this;

  /** Stops the updates of a collection or model until it is fetched again. */
  stop(target: Fetchable): this;

  /**
   * Adds a callback for an event. This and the other methods of `Backbone.Events` are available
   * once Backwire has been installed.
   *
   * @example
   * Backwire.on('status', ({state, unsent}) => light.show(state, unsent));
   */
  on<Name extends keyof Events>(event: Name, callback: (about: Events[Name]) => void, context?: any): this;
  /** As `on`, for the next event only. */
  once<Name extends keyof Events>(event: Name, callback: (about: Events[Name]) => void, context?: any): this;
  /** Removes callbacks: this one, all of this event, all of this context, or all. */
  off<Name extends keyof Events>(event?: Name | null, callback?: ((about: Events[Name]) => void) | null, context?: any): this;
}

declare const backwire: Backwire;
export default backwire;

declare global {
  interface Window {
    /** Set by the script tag build. */
    Backwire: Backwire;
  }
}
