// The options of Backwire, for `@types/backbone`: `import 'backwire/backbone';`

import 'backbone';

declare module 'backbone' {
  interface PersistenceOptions {
    /**
     * `false` sends the call by plain Ajax. With `realtime: 'optin'`, `true` sends it over the
     * socket.
     */
    realtime?: boolean | undefined;
  }

  interface ModelFetchOptions {
    /** `false` reads once: later changes do not arrive. */
    live?: boolean | undefined;
  }

  interface CollectionFetchOptions {
    /** `false` reads once: later changes do not arrive. */
    live?: boolean | undefined;
  }

  interface Model {
    /** As the option of calls, for all calls of this model. */
    realtime?: boolean | undefined;
    /** As the option of `fetch`, for all reads of this model. */
    live?: boolean | undefined;
  }

  interface Collection {
    /** As the option of calls, for all calls of this collection and its models. */
    realtime?: boolean | undefined;
    /** As the option of `fetch`, for all reads of this collection. */
    live?: boolean | undefined;
  }
}
