use backwire_records::model::Ids;

use super::*;
use crate::settings::{Limits, SocketIo, Transports};

fn parse(yaml: &str) -> Result<Config, String> {
    let config = yaml::parse(yaml, "production");
    config.map_err(|problem| problem.in_file(Path::new("config.yml")).to_string())
}

fn read(yaml: &str) -> Result<Settings, String> {
    let config = parse(yaml)?;
    config.apply_to(Settings::default()).map_err(|problem| problem.to_string())
}

#[test]
fn empty_file_changes_nothing() {
    assert_eq!(read("").unwrap().port, 1337);
    assert_eq!(read("# nothing yet\n").unwrap().port, 1337);
}

#[test]
fn settings_have_the_same_form_as_on_the_command_line() {
    let settings = read("port: 80\nengine: memory\nlog_age: 90s\nshortcuts: write\n").unwrap();
    assert_eq!((settings.port, settings.store), (80, Store::Memory));
    assert_eq!(settings.log_age, Duration::from_secs(90));
    let ledger = read("ledger_age: 30d\nledger_bytes: 1000000").unwrap();
    assert_eq!(ledger.ledger_age, Duration::from_secs(30 * 24 * 3600));
    assert_eq!(ledger.ledger_bytes, 1_000_000);
    assert_eq!(read("session_age: 1h").unwrap().session_age, Duration::from_secs(3600));
    assert_eq!(settings.shortcuts, Some(Shortcuts::Write));
    let settings = read("limits: {write_deadline: 30s}\ntrusted_proxies: 10.0.0.7").unwrap();
    let limits = Limits { write_deadline: Duration::from_secs(30), ..Limits::default() };
    assert_eq!(settings.limits, limits);
    assert_eq!(settings.trusted_proxies, ["10.0.0.7".parse().unwrap()]);
}

#[test]
fn resources_have_the_defaults_of_the_file_unless_they_set_them() {
    let settings = read(
        "compat: sails\nresource_defaults:\n  ids: uuid\n  find: {limit: 100}\n  \
         attributes: {tenant: string}\nresources:\n  note: {find: {populate: true}}\n  \
         counter: {ids: integer, find: {limit: 5}}\n",
    )
    .unwrap();
    assert_eq!((settings.compat, settings.shortcuts), (Conventions::Sails, None));
    assert_eq!(settings.paths().shortcuts, Shortcuts::Write);
    let model = |name| settings.models.of(&Resource::parse(name).unwrap()).unwrap();
    let [note, counter, other] = ["note", "counter", "other"].map(model);
    assert_eq!((note.ids, note.find.limit, note.attributes.len()), (Ids::Uuid, Some(100), 1));
    assert_eq!((counter.ids, counter.find.limit), (Ids::Integer, Some(5)));
    assert_eq!((other.ids, other.find.limit, other.attributes.len()), (Ids::Uuid, Some(100), 0));
    assert_eq!(
        read("compat: sals").unwrap_err(),
        "config.yml:1:9: unknown conventions \"sals\"; expected backwire or sails"
    );
    assert_eq!(
        read("resource_defaults: {tme: 1}").unwrap_err(),
        "config.yml:1:21: unknown key tme; did you mean timestamps?"
    );
    let refused = read(
        "resource_defaults: {attributes: {a: {type: integer, default: x}}}\nresources: {note: {}}",
    );
    assert!(refused.unwrap_err().starts_with("note.a: its default is not what it allows"));
}

/// YAML files often have a section with this name, which the others merge.
#[test]
fn section_may_be_called_defaults() {
    let yaml = "defaults: &defaults\n  port: 1\nproduction:\n  <<: *defaults\n  prefix: /api\n";
    assert_eq!(read(yaml).map(|it| (it.port, it.prefix)), Ok((1, "/api".to_owned())));
}

#[test]
fn section_of_the_environment_is_read() {
    let yaml = "development:\n  port: 1\nproduction:\n  port: 2\n";
    assert_eq!(read(yaml).unwrap().port, 2);
    assert_eq!(
        read("development:\n  port: 1\n").unwrap_err(),
        "config.yml: there is no section production, only development"
    );
}

#[test]
fn unknown_key_is_an_error_that_suggests_the_closest_key() {
    assert_eq!(
        read("port: 80\nprot: 81\n").unwrap_err(),
        "config.yml:2:1: unknown key prot; did you mean port?"
    );
    assert_eq!(
        read("production:\n  resources:\n    todo:\n      atributes: {}\n").unwrap_err(),
        "config.yml:4:7: unknown key atributes; did you mean attributes?"
    );
    let kind = "resources: {todo: {attributes: {title: {type: text}}}}";
    assert!(read(kind).unwrap_err().starts_with("config.yml:1:"), "{:?}", read(kind));
}

#[test]
fn invalid_value_is_an_error_with_line_and_column() {
    for (yaml, expected) in [
        ("port: eighty", "config.yml:1:7: port: eighty is not a port, 1 to 65535"),
        ("port: 70000", "config.yml:1:7: port: 70000 is not a port, 1 to 65535"),
        ("host: localhost", "config.yml:1:7: host: localhost is not an address, such as 127"),
        ("log_count: -1", "config.yml:1:12: log_count: -1 is not a whole number, 0 or more"),
        ("origins: here", "config.yml:1:10: \"here\" is not an origin: expected sch"),
        ("origins: [here]", "config.yml:1:11: \"here\" is not an origin: expected sch"),
        ("origins: {here: 1}", "config.yml:1:10: origins: expected a text or a list"),
        ("resources: [todo]", "config.yml:1:12: resources: expected a mapping, KEY: VALUE"),
        ("prefix: [/api]", "config.yml:1:9: prefix: expected one value, not a list or a"),
        ("port: 1\nport: 2", "config.yml:2:1: port is set twice: remove one"),
        (
            "resources: {a: {upsert: yes please}}",
            "config.yml:1:25: upsert: yes please is not true or false",
        ),
        ("engine: redis", "config.yml:1:9: unknown engine \"redis\""),
        ("session_secret: short", "config.yml:1:17: a session secret has at least 32"),
        (
            "allowed_hosts: ['http://a']",
            "config.yml:1:17: \"http://a\" is not a host name: expected",
        ),
        ("log_age: long", "config.yml:1:10: log_age: long is not a duration, such as 90s, 30m,"),
        ("ledger_age: 7", "config.yml:1:13: ledger_age: 7 is not a duration, such as 90s, 30m,"),
        ("ledger_age: -1d", "config.yml:1:13: ledger_age: -1d is not a duration, such as"),
        (
            "ledger_bytes: 1 GB",
            "config.yml:1:15: ledger_bytes: 1 GB is not a whole number, 0 or more",
        ),
        (
            "limits: {unread_packets: 0}",
            "config.yml:1:26: unread_packets: 0 is not a whole number, 1 or more",
        ),
        (
            "limits: {write_deadline: 20}",
            "config.yml:1:26: write_deadline: 20 is not a duration, such as 2s, 30m",
        ),
        ("limits: {unread: 1}", "config.yml:1:10: unknown key unread; did you mean"),
        ("trusted_proxies: nginx", "config.yml:1:18: \"nginx\" is not an address of a proxy"),
        ("ledger_bytes: -1", "config.yml:1:15: ledger_bytes: -1 is not a whole number, 0 or"),
        ("flakeid: {worker: 32}", "config.yml:1:19: worker: 32 is not a number from 0 to 31"),
        ("io: {pingTimeout: 0}", "config.yml:1:19: pingTimeout: 0 is not milliseconds"),
        ("redis: {port: x}", "config.yml:1:15: port: x is not a port"),
        (
            "client_ttl: -1",
            "config.yml:1:13: invalid duration \"-1\"; expected a form like 90, 90s",
        ),
        ("port: [", "config.yml:"),
        ("resources: {7up: {}}", "\"7up\" cannot be a resource"),
        (
            "resources: {pet: {attributes: {owner: {model: usr}}}, user: {}}",
            "pet.owner: no resource usr is declared; did you mean user?",
        ),
        ("resources: {pet: {}, Pet: {}}", "pet is declared twice"),
        (
            "resources: {pet: {attributes: {age: {type: integer, default: old}}}}",
            "pet.age: its default is not what it allows: age is a whole number",
        ),
        (
            "resources: {pet: {find: {where: {age: {below: 3}}}}}",
            "pet.find.where: age: the modifier below is not understood",
        ),
        ("resources: {a: {attributes: {b: {colection: c}}}}", "config.yml:1:"),
        (
            "resources: {a: {attributes: {b: {type: strng}}}}",
            "config.yml:1:40: unknown value strng",
        ),
        ("resources: {a: {attributes: {b: strng}}}", "config.yml:1:30: unknown value strng"),
        ("resources: {a: {attributes: {b: 7}}}", "config.yml:1:3"),
        ("resources: {a: {attributes: {b: {regex: '['}}}}", "config.yml:1:"),
    ] {
        let error = read(yaml).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn file_of_a_socketio_web_service_is_read() {
    let yaml = "production:\n  port: 80\n  client_ttl: 7200\n  redis:\n    port: 6380\n    \
                host: 10.0.0.1\n    auth_pass: 0123\n  flakeid:\n    datacenter: 1\n    \
                worker: 31\n  io:\n    pingTimeout: 60000\n";
    let settings = read(yaml).unwrap();
    assert_eq!((settings.port, settings.client_ttl), (80, Some(Duration::from_secs(7200))));
    let redis = settings.redis.unwrap();
    assert_eq!((&*redis.host, redis.port), ("10.0.0.1", 6380));
    assert!(redis.auth_pass.is_some_and(|password| password.is("0123")));
    assert_eq!(settings.flake, Flake { datacenter: 1, worker: 31, epoch: 0 });
    let heartbeat = settings.heartbeat;
    assert_eq!(heartbeat.timeout, Duration::from_secs(60));
    assert_eq!(heartbeat.interval, Duration::from_secs(25));
}

#[test]
fn messages_are_kept_for_an_hour_by_default_and_for_ever_if_client_ttl_is_0() {
    let ttl = |yaml| read(yaml).unwrap().client_ttl;
    assert_eq!(ttl("port: 1"), Some(Duration::from_secs(3600)));
    assert_eq!(ttl("client_ttl: 0"), None);
    assert_eq!(ttl("client_ttl: 2h"), Some(Duration::from_secs(7200)));
}

#[test]
fn unknown_key_in_a_block_of_the_service_is_a_warning() {
    let config = parse("redis:\n  dbs: [1, 2]\n  port: 1\nio: {pingTimeot: 5}").unwrap();
    let warnings: Vec<_> =
        config.warnings(Path::new("c.yml")).iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "c.yml:2:3: redis.dbs changes nothing: unknown key dbs; \
             expected one of host, port, auth_pass",
            "c.yml:4:6: io.pingTimeot changes nothing: unknown key pingTimeot; \
             did you mean pingTimeout?",
        ]
    );
    assert_eq!(config.apply_to(Settings::default()).unwrap().redis.unwrap().port, 1);
}

fn warnings(yaml: &str) -> Vec<String> {
    let config = parse(yaml).unwrap();
    config.warnings(Path::new("c.yml")).iter().map(ToString::to_string).collect()
}

#[test]
fn supported_options_of_socket_io_are_settings() {
    let yaml = "io:\n  path: /push/socket.io/\n  transports: [websocket]\n  \
                maxHttpBufferSize: 100000000\n  origins: 'https://a.example:443 b.example:80'\n  \
                pingTimeout: 60000\n  pingInterval: 10000\n";
    assert_eq!(warnings(yaml), [""; 0]);
    let settings = read(yaml).unwrap();
    let SocketIo { path, transports, max_http_buffer_size } = settings.socket_io;
    assert_eq!(path.as_str(), "/push/socket.io");
    assert_eq!((transports, max_http_buffer_size), (Transports::WebSocket, Some(100_000_000)));
    let origins = ["https://a.example", "http://b.example", "https://b.example:80"];
    assert_eq!(settings.origins, origins.map(|origin| origin.parse().unwrap()));
    assert_eq!(settings.heartbeat.interval, Duration::from_secs(10));
    let own = read(&format!("origins: ['https://own.example']\n{yaml}")).unwrap();
    assert_eq!(own.origins, ["https://own.example".parse().unwrap()]);
    assert_eq!(read("io: {transports: [polling]}").unwrap().socket_io.path.as_str(), "/socket.io");
}

#[test]
fn unsupported_options_of_socket_io_and_redis_are_warnings() {
    let yaml = "io: {cookie: false, perMessageDeflate: {threshold: 1}, origins: 'b:* a:1'}\n\
                redis: {url: 'redis://h', connect_timeout: 5}\nflakeid: {seqMask: 3}\n";
    let warnings = warnings(yaml);
    for (warning, begin) in warnings.iter().zip([
        "c.yml:2:9: redis.url changes nothing: other options of an engine in Redis are in `engine` (see docs/",
        "c.yml:2:27: redis.connect_timeout changes nothing: ",
        "c.yml:3:11: flakeid.seqMask changes nothing: ",
        "c.yml:1:6: io.cookie changes nothing: Socket.IO sets no cookie here (see docs/how-to",
        "c.yml:1:21: io.perMessageDeflate changes nothing: messages are not compressed",
        "c.yml: io.origins: b:* changes nothing: Backwire allows origins by their full names",
    ]) {
        assert!(warning.starts_with(begin), "{warning}");
    }
    assert_eq!(warnings.len(), 6);
    let origins = ["http://a:1", "https://a:1"].map(|origin| origin.parse().unwrap());
    assert_eq!(read(yaml).unwrap().origins, origins);
    assert!(read("io: {origins: 'ftp://a'}").unwrap_err().contains("is not an origin"));
}

#[test]
fn flake_id_is_datacenter_and_worker_in_one_number() {
    let flake = |yaml| read(yaml).unwrap().flake;
    let yaml = "flakeid: {id: 1023, worker: 3, epoch: 1300000000000}";
    let expected = Flake { datacenter: 31, worker: 31, epoch: 1_300_000_000_000 };
    assert_eq!(flake(yaml), expected);
    assert_eq!(flake("flakeid: {id: 33}"), Flake { datacenter: 1, worker: 1, epoch: 0 });
    assert_eq!(warnings(yaml), [""; 0]);
    let wrong = read("flakeid: {id: 1024}").unwrap_err();
    assert_eq!(wrong, "config.yml:1:15: id: 1024 is not a number from 0 to 1023");
}

#[test]
fn keys_of_later_versions_of_the_service_are_read_or_warned_about() {
    let ttl = |yaml| read(yaml).unwrap().client_ttl;
    assert_eq!(ttl("device_ttl: 60"), Some(Duration::from_secs(60)));
    assert_eq!(ttl("device_ttl: 0"), None);
    let both = "device_ttl: 60\nclient_ttl: 90\n";
    assert_eq!(ttl(both), Some(Duration::from_secs(90)));
    let yaml = format!("{both}winston: {{console: {{level: info}}}}\nservers: [a@b]\n");
    let warnings = warnings(&yaml);
    assert_eq!(warnings.len(), 3);
    for (warning, key) in warnings.iter().zip(["device_ttl", "winston", "servers"]) {
        assert!(warning.starts_with(&format!("c.yml: {key} changes nothing: ")), "{warning}");
    }
}

#[test]
fn secret_can_be_read_from_a_file_and_an_invalid_one_is_not_shown() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("key");
    std::fs::write(&file, "0123\n").unwrap();
    let key = |yaml: &str| read(yaml).map(|settings| settings.api_key.unwrap());
    assert!(key(&format!("api_key: {{file: {}}}", file.display())).unwrap().is("0123"));
    assert!(key("api_key: 0123").unwrap().is("0123"));
    // Cargo sets this variable in every test.
    let name = env!("CARGO_PKG_NAME");
    assert!(key("api_key: {env: CARGO_PKG_NAME}").unwrap().is(name));
    for (yaml, expected) in [
        ("api_key: {file: /nowhere/key}", "config.yml:1:10: /nowhere/key: "),
        ("api_key: {env: BACKWIRE_NOT_SET}", "config.yml:1:10: BACKWIRE_NOT_SET: "),
        ("api_key: {secret: hidden}", "config.yml:1:10: a secret is a text, {file: …}"),
        ("api_key: [secret]", "config.yml:1:10: "),
        ("session_secret: secret", "config.yml:1:17: a session secret has at least"),
    ] {
        let refused = read(yaml).unwrap_err();
        assert!(refused.starts_with(expected), "{refused}");
        assert!(!refused.contains("hidden") && !refused.contains("[secret"), "{refused}");
    }
}

#[test]
fn optional_secret_without_a_value_is_not_set_and_an_empty_file_is_an_error() {
    for value in ["", "~", "null"] {
        let settings = read(&format!("api_key: {value}\nsession_secret: {value}")).unwrap();
        assert!(settings.api_key.is_none() && settings.session_secret.is_none());
    }
    assert_eq!(
        read("api_key: {file: ~}").unwrap_err(),
        "config.yml:1:17: a text is missing: write ~ or null in quotes to use it as a text"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    assert_eq!(
        read(&format!("api_key: {{file: {path}}}")).unwrap_err(),
        format!("config.yml:1:10: {path}: a key has at least one character that is not a space")
    );
}

/// Keys inside the values of [`settings_keys`], as they are written before the value.
const INNER_KEYS: [&str; 41] = [
    "redis: {host",
    "redis: {port",
    "redis: {auth_pass",
    "flakeid: {datacenter",
    "flakeid: {worker",
    "io: {pingTimeout",
    "io: {pingInterval",
    "io: {path",
    "io: {transports",
    "io: {origins",
    "io: {maxHttpBufferSize",
    "flakeid: {id",
    "flakeid: {epoch",
    "resources: {todo",
    "resources: {todo: {key",
    "resources: {todo: {ids",
    "resources: {todo: {attributes",
    "resources: {todo: {unknown",
    "resources: {todo: {timestamps",
    "resources: {todo: {upsert",
    "resources: {todo: {plural",
    "resources: {todo: {find",
    "resources: {todo: {find: {limit",
    "resources: {todo: {find: {where",
    "resources: {todo: {find: {populate",
    "resources: {todo: {most",
    "resources: {todo: {most: {records",
    "resources: {todo: {access",
    "resources: {todo: {access: {read",
    "resources: {todo: {access: {owner",
    "resources: {todo: {access: {assign",
    "resources: {todo: {reveals",
    "resources: {todo: {attributes: {title",
    "resources: {todo: {attributes: {title: {type",
    "resources: {todo: {attributes: {title: {required",
    "resources: {todo: {attributes: {title: {default",
    "resources: {todo: {attributes: {title: {enum",
    "resources: {todo: {attributes: {title: {min",
    "resources: {todo: {attributes: {title: {regex",
    "resources: {todo: {attributes: {title: {model",
    "resources: {todo: {attributes: {title: {email",
];

#[test]
fn wrong_value_of_any_key_is_an_error_in_plain_wording() {
    let keys = settings_keys().iter().chain(&INNER_KEYS);
    for (key, value) in keys.flat_map(|key| yaml::WRONG_VALUES.map(|value| (key, value))) {
        let close = "}".repeat(key.matches('{').count());
        if let Err(refused) = read(&format!("{key}: {value}{close}")) {
            yaml::assert_plain_wording(&refused);
        }
    }
}

#[test]
fn invalid_file_is_an_error_in_plain_wording() {
    for yaml in [
        "a",
        "- 1",
        "5",
        "{",
        "port: 'x",
        "port: 1\n\tx: 2",
        "port: 1\n---\nport: 2",
        "? [1]\n: 2",
        "? {a: 1}\n: 2",
        "port: *a",
        "port: &a *a",
        "<<: 5",
        "production: 5",
        "production: [1]",
        "production:\n  port: x",
        "production:\n  port: 1\ndevelopment: 7",
    ] {
        yaml::assert_plain_wording(&read(yaml).unwrap_err());
    }
}

#[test]
fn settings_keys_lists_all_keys() {
    assert!(settings_keys().contains(&"session_age"));
    for key in settings_keys() {
        let outcome = read(&format!("{key}: {{x: [1]}}\n"));
        assert!(
            !outcome.is_err_and(|error| error.contains(&format!("unknown key {key};"))),
            "{key}"
        );
    }
    assert!(read("x: {}\nport: 1").unwrap_err().contains("unknown key x;"));
}
