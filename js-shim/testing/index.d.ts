import type {Backwire, BackboneLike, InstallOptions} from 'backwire';

/** The attributes of a record. */
export type Attributes = Record<string, any>;

/** Options of `fakeServer`. */
export interface FakeServerOptions {
  /** The `url` that `install` gives to Backwire. The default is the origin of the page. */
  url?: string;
  /** The beginning of the paths of resources, as in the configuration of the server: `/api`. */
  prefix?: string;
}

/** A request of the app. */
export interface FakeRequest {
  /** In upper case. */
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly path: string;
  /** The parameters of the query. Of a repeated name, the last one. */
  readonly query: Record<string, string>;
  /** By their names in lower case. */
  readonly headers: Record<string, string>;
  /** Parsed JSON. */
  readonly body: any;
}

/** What a response function gets. */
export interface MatchedRequest extends FakeRequest {
  /** The segments that a path such as `/todo/:id` names, or the named groups of a `RegExp`. */
  readonly params: Record<string, string>;
}

/** An answer: a status, or an object with the parts of it. The default status is 200. */
export type FakeResponse = number | {status?: number; body?: any; headers?: Record<string, string>};

/** A method of HTTP in any case, or `*` for all. */
export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete' | 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | '*';

/** A Backwire server with its records in memory, without a network. */
export interface FakeServer {
  /** The `url` for Backwire. */
  readonly url: string;
  /** The requests of the app so far, oldest first. */
  readonly requests: readonly FakeRequest[];

  /** Installs Backwire of this package, with this server as its `url`. Returns Backwire. */
  install(Backbone: BackboneLike, options?: InstallOptions): Backwire;

  /**
   * Answers requests in another way, until `reset`. The last one that matches counts.
   *
   * @param path A path, in which `:name` stands for any segment, or a `RegExp`. Without the query.
   * @param response The answer, or a function that returns it or a promise of it. If it returns
   *   nothing, the fake server answers as it would without this.
   * @param options `once`: only the next request that matches.
   *
   * @example
   * server.respond('post', '/todo', {status: 422, body: {message: 'no title'}});
   */
  respond(
    method: Method, path: string | RegExp,
    response: FakeResponse | ((request: MatchedRequest) => FakeResponse | undefined | void | Promise<FakeResponse | undefined | void>),
    options?: {once?: boolean}
  ): this;

  /** Forgets the requests so far and the answers of `respond`. Records stay. */
  reset(): this;

  /** The records of a resource, in the order of their ids. */
  records(resource: string): Attributes[];
  /** Creates a record as another client does. Returns it. */
  create(resource: string, attributes: Attributes): Attributes;
  /** Changes attributes of a record as another client does. Returns the record. */
  update(resource: string, id: number | string, attributes: Attributes): Attributes;
  /** Destroys a record as another client does. Returns it as it was. */
  destroy(resource: string, id: number | string): Attributes;
  /**
   * Sends an event to the user of the page, as a back end does. Needs the option `site` of
   * `install`.
   */
  push(event: string, ...args: any[]): this;

  /** Ends the connection. It cannot be made again until `restore`: requests wait. */
  drop(): this;
  /** Makes the server reachable. The app connects at once and sends what has waited. */
  restore(): this;

  /**
   * Waits until every request that was sent is answered, and everything that follows from it has
   * happened. Requests that wait for `restore` or for a timer are not waited for.
   */
  settled(): Promise<this>;

  /** Ends the server, uninstalls what `install` has installed, and puts the globals back. */
  close(): void;
}

/**
 * Starts a fake server with these records, by the names of resources. It replaces `WebSocket` and
 * `fetch` until `close`.
 *
 * @example
 * const server = fakeServer({todo: [{id: 1, title: 'Milk'}]});
 * server.install(Backbone);
 */
export function fakeServer(records?: Record<string, readonly Attributes[]>, options?: FakeServerOptions): FakeServer;
