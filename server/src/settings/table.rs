//! The table of settings: the only place that declares one.
//!
//! A setting has the documentation of its field in [`Settings`](super::Settings), a name, a type
//! and a default. Then come its key in a configuration file, the method that sets it in Rust, and
//! the options of the command line with their variables, value names and help texts. The type
//! [parses](super::value::SettingValue) and shows the value.
//!
//! The consumers of the table are the settings, the configuration file, the command line and the
//! builder. Settings that are blocks in a file (`limits`, `io`, `flakeid`, `redis`, `resources`)
//! and `undeclared` are not in the table.

/// Passes the table to a macro. The macro needs the types of the table in its scope.
macro_rules! for_each_setting {
    ($consumer:ident) => {
        $consumer! {
            /// The address to listen on. By default, only this machine can connect, because all
            /// callers may read and write resources without access rules.
            host: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST) => {
                key: "host",
                builder: "Sets" host(impl Into<IpAddr>),
                options: [Value("host", "BACKWIRE_HOST", "HOST",
                    "Address to listen on; with 0.0.0.0 other machines can connect, without a password \
                     [default: 127.0.0.1, or 0.0.0.0 with sites and no declared resources]")],
            }
            /// The port to listen on. 0 means any free port.
            port: u16 = 1337 => {
                key: "port",
                builder: "Sets" port(u16),
                options: [Value("port", "BACKWIRE_PORT", "PORT",
                    "Port to listen on; 0 takes any free port. Without it, the variable PORT is used \
                     [default: 1337]")],
            }
            /// The engine that stores records and logs.
            store: Store = Store::default() => {
                key: "engine",
                builder: "Sets" store(Store),
                options: [Key("engine", "BACKWIRE_ENGINE", "ENGINE",
                    "Where records live: memory, sqlite:FILE or redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]; \
                     BACKWIRE_ENGINE hides a password from other programs \
                     [default: sqlite:data/backwire.db]")],
            }
            /// A directory of pages to serve beside the resources.
            pages: Option<PathBuf> = None => {
                key: "static",
                builder: "Sets" pages(impl Into<PathBuf>),
                options: [Path("static", "BACKWIRE_STATIC", "DIR",
                    "Directory of pages to serve beside the resources")],
            }
            /// Other origins whose pages may use the server. Pages of its own host always may.
            origins: Vec<AllowedOrigin> = Vec::new() => {
                key: "origins",
                builder: "Adds to" origin(AllowedOrigin),
                options: [Value("origin", "BACKWIRE_ORIGIN", "URL",
                    "Origin whose pages may use this server, beyond its own host and localhost; may be \
                     repeated. * is any origin, without cookies")],
            }
            /// The host names that requests may have, beside `localhost` and addresses. Without
            /// any, all names are allowed, with one exception: a server that listens only on this
            /// machine refuses other names with its own port.
            allowed_hosts: Vec<AllowedHost> = Vec::new() => {
                key: "allowed_hosts",
                builder: "Adds to" allowed_host(AllowedHost),
                options: [Value("allowed-host", "BACKWIRE_ALLOWED_HOST", "HOST",
                    "Host name of this server, beside localhost and addresses; requests for other names \
                     are refused. May be repeated; .example includes all subdomains of example")],
            }
            /// Other origins whose pages may show pages of this server in a frame.
            frame_ancestors: Vec<AllowedOrigin> = Vec::new() => {
                key: "frame_ancestors",
                builder: "Adds to" frame_ancestor(AllowedOrigin),
                options: [],
            }
            /// The key that back ends need to publish over HTTP. Without it, they cannot publish.
            api_key: Option<ApiKey> = None => {
                key: "api_key",
                builder: "Sets" api_key(ApiKey),
                options: [Key("api-key", "BACKWIRE_API_KEY", "KEY",
                    "Key that back ends need for POST /publish; without it they cannot publish")],
            }
            /// The secret that session cookies are signed with. The default is the engine's own
            /// secret.
            session_secret: Option<SessionSecret> = None => {
                key: "session_secret",
                builder: "Sets" session_secret(SessionSecret),
                options: [
                    File("session-secret-file", "BACKWIRE_SESSION_SECRET_FILE", "FILE",
                        "File with the secret that session cookies are signed with, 32 characters or \
                         more; it may be in BACKWIRE_SESSION_SECRET itself. Without either one is made \
                         and kept with the records"),
                    Variable("session-secret", "BACKWIRE_SESSION_SECRET", "SESSION_SECRET", ""),
                ],
            }
            /// How long an unused session is kept.
            session_age: Duration = 24 * HOUR => {
                key: "session_age",
                builder: "Sets" session_age(Duration),
                options: [Value("session-age", "BACKWIRE_SESSION_AGE", "DURATION",
                    "How long an unused session is kept [default: 24h]")],
            }
            /// Whether writes need a CSRF token of the caller's session, as in Sails.
            csrf: bool = false => {
                key: "csrf",
                builder: "Sets" csrf(bool),
                options: [Value("csrf", "BACKWIRE_CSRF", "BOOLEAN",
                    "Whether writes need a CSRF token, which GET /csrfToken returns: true or false \
                     [default: false]")],
            }
            /// The changes that are kept per resource. A log may have a sixteenth more.
            log_count: u64 = Window::default().count => {
                key: "log_count",
                builder: "Sets" log_count(u64),
                options: [Value("log-count", "BACKWIRE_LOG_COUNT", "N",
                    "Changes kept per resource for clients that were away [default: 10000]")],
            }
            /// The bytes of these changes per resource. The oldest are forgotten first.
            log_bytes: u64 = Window::default().bytes => {
                key: "log_bytes",
                builder: "Sets" log_bytes(u64),
                options: [Value("log-bytes", "BACKWIRE_LOG_BYTES", "BYTES",
                    "Bytes of these changes per resource; the oldest are forgotten first \
                     [default: 1073741824]")],
            }
            /// How long a change is kept.
            log_age: Duration = Window::default().age => {
                key: "log_age",
                builder: "Sets" log_age(Duration),
                options: [Value("log-age", "BACKWIRE_LOG_AGE", "DURATION",
                    "How long a change is kept: a number with s, m, h or d [default: 24h]")],
            }
            /// How long the key of a write or a message is known, so that a repeat has no effect.
            ledger_age: Duration = Window::default().ledger_age => {
                key: "ledger_age",
                builder: "Sets" ledger_age(Duration),
                options: [Value("ledger-age", "BACKWIRE_LEDGER_AGE", "DURATION",
                    "How long an Idempotency-Key is known: a number with s, m, h or d [default: 7d]")],
            }
            /// The bytes of the ledger entries of writes. The oldest are forgotten first.
            ledger_bytes: u64 = Window::default().ledger_bytes => {
                key: "ledger_bytes",
                builder: "Sets" ledger_bytes(u64),
                options: [Value("ledger-bytes", "BACKWIRE_LEDGER_BYTES", "BYTES",
                    "Bytes of all stored idempotency keys; the oldest are deleted first \
                     [default: 1073741824]")],
            }
            /// How long messages wait for a person whose last device has disconnected. `None` means
            /// for ever, which is written 0.
            client_ttl: Option<Duration> = Some(HOUR) => {
                key: "client_ttl",
                builder: "Sets" client_ttl(Duration),
                options: [Value("client-ttl", "BACKWIRE_CLIENT_TTL", "DURATION",
                    "How long messages wait for a person whose last device has disconnected: seconds, or \
                     a number with s, m, h or d; 0 is for ever [default: 3600]")],
            }
            /// How long a shutdown may take. A server that shares its store ends its connections
            /// one after the other, in the first half of this time.
            shutdown_time: Duration = Duration::from_secs(25) => {
                key: "shutdown_time",
                builder: "Sets" shutdown_time(Duration),
                options: [Value("shutdown-time", "BACKWIRE_SHUTDOWN_TIME", "DURATION",
                    "How long a stop may take at most; with an engine that servers share, connections \
                     end one after the other in the first half of it [default: 25s]")],
            }
            /// Bytes that the body of a request may have.
            body_limit: usize = 1 << 20 => {
                key: "body_limit",
                builder: "Sets" body_limit(usize),
                options: [Value("body-limit", "BACKWIRE_BODY_LIMIT", "BYTES",
                    "Bytes that the body of a request may have [default: 1048576]")],
            }
            /// The proxies whose `X-Forwarded-For` header is trusted.
            trusted_proxies: Vec<TrustedProxy> =
                vec![TrustedProxy::Loopback, TrustedProxy::Private] => {
                key: "trusted_proxies",
                builder: "Adds to" trusted_proxy(TrustedProxy),
                options: [],
            }
            /// The prefix of all paths of resources: `/api`.
            prefix: String = String::new() => {
                key: "prefix",
                builder: "Sets" prefix(impl Into<String>),
                options: [Value("prefix", "BACKWIRE_PREFIX", "PATH",
                    "Prefix of all paths of resources, such as /api")],
            }
            /// The prefix, after [`prefix`](Self::prefix), of paths that are not shortcuts: `/v1`.
            rest_prefix: String = String::new() => {
                key: "rest_prefix",
                builder: "Sets" rest_prefix(impl Into<String>),
                options: [Value("rest-prefix", "BACKWIRE_REST_PREFIX", "PATH",
                    "Second prefix of these paths, except shortcuts, such as /v1")],
            }
            /// The conventions that resources follow, unless their models say otherwise, and that
            /// answers follow.
            compat: Conventions = Conventions::default() => {
                key: "compat",
                builder: "Sets" compat(Conventions),
                options: [Value("compat", "BACKWIRE_COMPAT", "CONVENTIONS",
                    "Whose conventions the server follows: backwire or sails [default: backwire]")],
            }
            /// Which shortcuts exist, such as `/todo/find`. `None` leaves it to
            /// [`compat`](Self::compat): those that read, or all with the conventions of Sails.
            shortcuts: Option<Shortcuts> = None => {
                key: "shortcuts",
                builder: "Sets" shortcuts(Shortcuts),
                options: [Value("shortcuts", "BACKWIRE_SHORTCUTS", "SHORTCUTS",
                    "Whether there are paths such as /todo/find [default: read, or write with the conventions of Sails]")],
            }
        }
    };
}

pub(crate) use for_each_setting;
