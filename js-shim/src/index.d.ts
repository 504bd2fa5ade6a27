/** How the connection to the server stands. */
export interface Status {
  /** `connecting` is the first attempt, or the first after the connection broke. */
  readonly state: 'online' | 'connecting' | 'offline';
  /** Writes that wait until the page is online again. */
  readonly unsent: number;
}

/** What Backwire needs of Backbone. Any Backbone from 1.0 on has it. */
export interface BackboneLike {
  sync(...args: any[]): any;
  ajax(...args: any[]): any;
  Events: object;
}

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
  /** Who uses the page, for the site to recognise. */
  token?: string;
  /**
   * Events that are about records, and the resources those are of: `{update_store: 'todo'}`. The record is the last
   * object among the arguments; a text that begins with `remove`, `delete` or `destroy` says that it is gone.
   */
  bind?: Readonly<Record<string, string>>;
}

/** An event that its handler could not take. */
export interface Undelivered {
  readonly id: string | null;
  readonly event: string;
  readonly args: readonly any[];
  readonly error: unknown;
}

/** What back ends send to the person who uses the page. */
export interface Deliveries {
  /**
   * Has `handler(...args, {id})` called for each event of this name, once and in the order of sending. The next waits
   * until it returns or what it promises is kept; then the server forgets the event, on this tab. If it throws it is
   * called again, three times at most, and then `Backwire.on('undelivered')` is told. `id` is null for what was sent
   * to a room of many.
   *
   * `resync` says that something was missed. Without a handler of its own all that is live is read again.
   *
   * It may be called at any time, also before `install`. The handler stays until another takes its place, over
   * `uninstall` and the next `install`. After `uninstall` no handler is called; an event whose handler was not done by
   * then is told again when this tab is back.
   *
   * @example
   * Backwire.socket.on('update_store', (type, record) => store.put(type, record));
   */
  on(event: string, handler: (...args: any[]) => unknown): this;
}

/** A write that was sent and not answered for a week: it may have been done or not. */
export interface Lost {
  readonly method: string;
  readonly url: string;
  /** JSON text. */
  readonly body?: string;
}

/** Whatever can be fetched: a `Backbone.Collection` or a `Backbone.Model`. */
export interface Fetchable {
  fetch(options?: any): any;
}

/** `window.Backwire` of the script tag, and the default export of the ES module. */
export interface Backwire {
  /** How we stand now. A new object whenever it changes. */
  readonly status: Status;

  /**
   * Why Backwire could not start, such as a browser or a content security policy without
   * WebAssembly. `Backbone.sync` then is as it was.
   */
  readonly error: unknown;

  /**
   * Takes over `Backbone.sync`, in the same turn, and connects. From then on whatever is fetched is
   * live: changes made elsewhere arrive as `add`, `change`, `remove` and `destroy`, with
   * `realtime: true` in their options. It is so until the page lets go of it: what nobody holds and nobody
   * listens to is collected as any garbage, and the server is told so.
   *
   * `realtime: false` on a model, a collection, their class or in options keeps to the original
   * sync; so do absolute urls of another origin.
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

  /** Goes online; after `disconnect()`, comes back and catches up. */
  connect(): this;

  /** Goes offline on purpose. Writes wait, in order, until `connect()`. */
  disconnect(): this;

  /** What back ends send. There before Backwire is installed, too. */
  readonly socket: Deliveries;

  /** This collection or model is no longer live, until it is fetched again. */
  stop(target: Fetchable): this;

  /**
   * Calls back whenever the status changes. This and the other methods of `Backbone.Events` are
   * there once Backwire has been installed.
   *
   * @example
   * Backwire.on('status', ({state, unsent}) => light.show(state, unsent));
   */
  on(event: 'status', callback: (status: Status) => void, context?: any): this;
  /** Calls back for each write that is given up because the server may have forgotten its key. */
  on(event: 'lost', callback: (write: Lost) => void, context?: any): this;
  /** Calls back for each event that its handler could not take, three times. */
  on(event: 'undelivered', callback: (event: Undelivered) => void, context?: any): this;
  /** As `on`, for the next change only. */
  once(event: 'status', callback: (status: Status) => void, context?: any): this;
  /** Takes callbacks away: this one, all of this context, or all. */
  off(event?: 'status' | null, callback?: ((status: Status) => void) | null, context?: any): this;
}

declare const backwire: Backwire;
export default backwire;

declare global {
  interface Window {
    /** There with the script tag build. */
    Backwire: Backwire;
  }
}
