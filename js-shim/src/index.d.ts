/** The state of the connection to the server. */
export interface Status {
  /** `connecting` is the first attempt, or the first after the connection broke. */
  readonly state: 'online' | 'connecting' | 'offline';
  /** Writes that the server has not answered and that cannot be sent at the moment. */
  readonly unsent: number;
}

/** What Backwire needs of Backbone: any version from 0.5.3 on, or a module namespace whose default export it is. */
export type BackboneLike = {sync(...args: any[]): any; Events: object} | {default: any};

/** How to install. */
export interface InstallOptions {
  /**
   * Any url of the server; only its origin counts. By default the origin that the script tag came
   * from, for the ES module that of the page.
   */
  url?: string;
  /** `false`: stay offline until `connect()`. */
  connect?: boolean;
  /**
   * Who is using the page, such as a user's id. Writes that were kept while offline are sent only for
   * the identity that made them; those of others wait until these install again.
   */
  identity?: string;
  /** The site of the push service that the page belongs to. */
  site?: string;
  /** The token by which the site knows the page's user. It is sent when connecting, never in a url. */
  token?: string;
  /**
   * Events that are about records, and the resources those are of: `{update_store: 'todo'}`. The record is the last
   * object among the arguments; a text that begins with `remove`, `delete` or `destroy` says that it is gone.
   */
  bind?: Readonly<Record<string, string>>;
}

/** How to connect again. */
export interface ConnectOptions {
  /** Replaces the token of `install`. */
  token?: string;
}

/**
 * The option of models, collections, their classes and single calls (`fetch`, `save`, `destroy`, `create`): `false` sends
 * them by plain Ajax. The nearest counts: options, then the model, then its collection.
 */
export interface RealtimeOption {
  realtime?: boolean;
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

/** A write that an earlier page has kept while offline, and that the server has refused. */
export interface Rejected {
  readonly write: Write;
  /** As in HTTP. */
  readonly status: number;
  /** The model that shows it, if one does. It gets an `error` event, too. */
  readonly model: any;
}

/** Why the server does not let the page connect. */
export interface Refused {
  /** It begins with a code: `E_ORIGIN`, `E_SITE`, `E_TOKEN`, `E_VERSION`. */
  readonly reason: string;
}

/** Everything that `Backwire.on` reports, by the name of the event. */
export interface Events {
  /** The state of the connection has changed. */
  status: Status;
  /** A write was not answered for a week. It may have been done or not, and is given up. */
  lost: Write;
  /** A write that was kept over a reload was refused, and is given up. */
  rejected: Rejected;
  /** A handler of a pushed event has failed three times; the event is skipped. */
  undelivered: Undelivered;
  /** The server refuses the connection. It is not tried again until `connect()`. */
  refused: Refused;
  /**
   * A write that had waited offline was answered 401. Sign in, then `disconnect()` and `connect()`, or `connect({token})`:
   * the write is sent again.
   */
  unauthorized: undefined;
}

/** What back ends send to the person who uses the page. */
export interface Deliveries {
  /**
   * Calls `handler(...args, {id})` for each event of this name, once and in the order of sending. The next waits
   * until it returns or what it promises is kept; then the server forgets the event, on this tab. If it throws it is
   * called again, three times at most, and then `Backwire.on('undelivered')` is called. `id` is null for what was sent
   * to a room of many.
   *
   * An event that the page has no handler for waits, and so does what follows it. After ten seconds the console warns.
   *
   * `resync` means that something was missed. Without a handler of its own all that is live is read again.
   *
   * It may be called at any time, also before `install`. The handler stays until another takes its place, over
   * `uninstall` and the next `install`. After `uninstall` no handler is called; an event whose handler was not done by
   * then is sent again when this tab is back.
   *
   * @example
   * Backwire.socket.on('update_store', (type, record) => store.put(type, record));
   */
  on(event: string, handler: (...args: any[]) => unknown): this;

  /** Drops events of this name: this page has no use for them. */
  ignore(event: string): this;
}

/** Whatever can be fetched: a `Backbone.Collection` or a `Backbone.Model`. */
export interface Fetchable {
  fetch(options?: any): any;
}

/** `window.Backwire` of the script tag, and the default export of the ES module. */
export interface Backwire {
  /** The state of the connection. A new object whenever it changes. */
  readonly status: Status;

  /**
   * Why Backwire could not start, such as a browser or a content security policy without
   * WebAssembly. `Backbone.sync` then is as it was.
   */
  readonly error: unknown;

  /**
   * Takes over `Backbone.sync`, in the same turn, and connects. From then on whatever is fetched is
   * live: changes made elsewhere arrive as `add`, `change`, `remove` and `destroy`, with
   * `realtime: true` in their options. It stays so until the page lets go of it: what nobody holds and nobody
   * listens to is garbage-collected, and unsubscribed.
   *
   * `realtime: false` on a model, a collection, their class or in options keeps to plain Ajax; so do absolute urls of
   * another origin, and models with a `sync` of their own.
   *
   * @example
   * Backwire.install(Backbone, {url: 'http://localhost:1337'});
   */
  install(Backbone: BackboneLike, options?: InstallOptions): this;

  /**
   * Puts the original `Backbone.sync` back; if another script has wrapped it since, what that script
   * holds only passes calls on. Requests without a reply are aborted.
   */
  uninstall(): this;

  /** Goes online; after `disconnect()`, or after the server has refused the page, tries again and catches up. */
  connect(options?: ConnectOptions): this;

  /** Goes offline on purpose. Reads and writes wait, in order, until `connect()`. */
  disconnect(): this;

  /** What back ends send. There before Backwire is installed, too. */
  readonly socket: Deliveries;

  /**
   * Backwire's `sync`, for models and collections of a page whose `Backbone.sync` is somebody else's.
   *
   * @example
   * const Todo = Backbone.Model.extend({urlRoot: '/todo', sync: Backwire.sync});
   */
  sync(...args: any[]): any;

  /** The page's own `sync`, for models and collections that stay on plain Ajax. */
  ajaxSync(...args: any[]): any;

  /** This collection or model is no longer live, until it is fetched again. */
  stop(target: Fetchable): this;

  /**
   * Calls back whenever something happens that an app may want to know. This and the other methods of
   * `Backbone.Events` are there once Backwire has been installed.
   *
   * @example
   * Backwire.on('status', ({state, unsent}) => light.show(state, unsent));
   */
  on<Name extends keyof Events>(event: Name, callback: (about: Events[Name]) => void, context?: any): this;
  /** As `on`, for the next time only. */
  once<Name extends keyof Events>(event: Name, callback: (about: Events[Name]) => void, context?: any): this;
  /** Takes callbacks away: this one, all of this event, all of this context, or all. */
  off<Name extends keyof Events>(event?: Name | null, callback?: ((about: Events[Name]) => void) | null, context?: any): this;
}

declare const backwire: Backwire;
export default backwire;

declare global {
  interface Window {
    /** There with the script tag build. */
    Backwire: Backwire;
  }
}
