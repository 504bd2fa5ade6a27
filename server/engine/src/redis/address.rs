//! The address of Redis: one server, nodes of a cluster, or sentinels.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use url::Url;

const FORM: &str = "expected redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], rediss://… for TLS, or \
    redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],…/SERVICE[/DATABASE]";

/// The default port of a sentinel.
const SENTINEL_PORT: u16 = 26379;

/// The address of Redis. User and password are not shown, neither when it is printed nor in an
/// error about it.
///
/// - `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`: one server;
/// - `redis://[[USER]:PASSWORD@]HOST[:PORT],…`: a cluster, of which these are some nodes;
/// - `redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],…/SERVICE[/DATABASE]`: the master of this
///   name, as these sentinels know it.
///
/// `rediss` instead of `redis` means TLS. Parameters: `ca`, `cert` and `key` are files in PEM: the
/// certificates of the authority, if it is not one that the machine trusts, and the certificate of
/// the client and its key. `sentinel_user` and `sentinel_password` are for the sentinels.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    /// The whole address.
    text: String,
    /// The whole address without users and passwords.
    shown: String,
    address: Address,
}

/// The parts of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The addresses of the servers, or of the sentinels without user and password: `redis://…`, or
    /// `rediss://…`.
    pub(super) servers: Vec<String>,
    pub(super) sentinel: Option<Sentinel>,
    pub(super) files: TlsFiles,
}

/// A master that sentinels know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentinel {
    pub(super) service: String,
    /// An address with the user, the password and the database of the master. It has the host of a
    /// sentinel.
    pub(super) master: String,
    /// The user and the password at the sentinels.
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// Files in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

impl RedisUrl {
    /// Returns the address of a server with a password.
    pub fn of(host: &str, port: u16, password: Option<&str>) -> Result<Self, String> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let text = format!("redis://{host}:{port}");
        let mut url = Url::parse(&text).map_err(|error| malformed(&error.to_string()))?;
        if let Some(password) = password {
            url.set_password(Some(password))
                .map_err(|()| "the password of Redis cannot be in an address".to_owned())?;
        }
        url.as_str().parse()
    }

    /// Returns the address with user and password.
    pub fn with_credentials(&self) -> &str {
        &self.0.text
    }

    pub(super) fn address(&self) -> &Address {
        &self.0.address
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        let (scheme, is_sentinel) = match scheme {
            "redis" | "rediss" => (scheme, false),
            "redis+sentinel" => ("redis", true),
            "rediss+sentinel" => ("rediss", true),
            _ => return Err(malformed("does not begin with redis:// or rediss://")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
            None => (String::new(), authority),
        };
        let mut urls = Vec::new();
        for host in hosts.split(',') {
            urls.push(server(&format!("{scheme}://{credentials}{host}{tail}"))?);
        }
        let url = &urls[0];
        let (service, database) = path(url, is_sentinel)?;
        let parameters = Parameters::of(url, is_sentinel)?;
        let address = address(&urls, service, database, &parameters);
        if scheme == "redis" && address.files != TlsFiles::default() {
            return Err(malformed("has files for TLS, but does not begin with rediss"));
        }
        let shown_scheme = text.split("://").next().unwrap_or_default();
        let shown = format!("{shown_scheme}://{hosts}{}{}", url.path(), parameters.shown());
        Ok(Self(Arc::new(Parts { text: text.to_owned(), shown, address })))
    }
}

fn malformed(reason: &str) -> String {
    format!("the address of Redis {reason}; {FORM}")
}

/// Reads the address of one server.
fn server(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| malformed(&format!("is invalid: {error}")))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(malformed("has no host"));
    }
    if url.fragment().is_some() {
        return Err(malformed("has a part after #, which nothing reads"));
    }
    Ok(url)
}

/// Returns the service, if the address is one of sentinels, and the database.
fn path(url: &Url, is_sentinel: bool) -> Result<(Option<String>, &str), String> {
    let path = url.path().trim_start_matches('/');
    let (service, database) = match is_sentinel {
        true => path.split_once('/').unwrap_or((path, "")),
        false => ("", path),
    };
    if is_sentinel && service.is_empty() {
        return Err(malformed("has no name of a service after the sentinels"));
    }
    if !database.is_empty() && database.parse::<u16>().is_err() {
        return Err(malformed("has a database that is not a number"));
    }
    Ok((is_sentinel.then(|| service.to_owned()), database))
}

fn address(
    urls: &[Url],
    service: Option<String>,
    database: &str,
    parameters: &Parameters,
) -> Address {
    let without = |url: &Url| {
        let mut url = url.clone();
        url.set_query(None);
        url.set_path(if database.is_empty() { "" } else { database });
        url
    };
    let sentinel = service.map(|service| Sentinel {
        service,
        master: without(&urls[0]).into(),
        user: parameters.sentinel_user.clone(),
        password: parameters.sentinel_password.clone(),
    });
    let servers = urls.iter().map(|url| {
        let mut url = without(url);
        if sentinel.is_some() {
            // They succeed, as the address has a host.
            let _ = (url.set_username(""), url.set_password(None));
            let port = url.port().unwrap_or(SENTINEL_PORT);
            let _ = url.set_port(Some(port));
            url.set_path("");
        }
        url.into()
    });
    Address { servers: servers.collect(), files: parameters.files.clone(), sentinel }
}

/// The parameters after `?`.
#[derive(Default)]
struct Parameters {
    files: TlsFiles,
    sentinel_user: Option<String>,
    sentinel_password: Option<String>,
}

impl Parameters {
    fn of(url: &Url, is_sentinel: bool) -> Result<Self, String> {
        let mut parameters = Self::default();
        for (name, value) in url.query_pairs() {
            let (file, text) = (Some(PathBuf::from(&*value)), Some(value.into_owned()));
            match &*name {
                "ca" => parameters.files.ca = file,
                "cert" => parameters.files.cert = file,
                "key" => parameters.files.key = file,
                "sentinel_user" if is_sentinel => parameters.sentinel_user = text,
                "sentinel_password" if is_sentinel => parameters.sentinel_password = text,
                _ => return Err(malformed("has an unknown parameter after ?")),
            }
        }
        if parameters.files.cert.is_some() != parameters.files.key.is_some() {
            return Err(malformed("has only one of the parameters cert and key"));
        }
        Ok(parameters)
    }

    /// Returns the parameters without secrets.
    fn shown(&self) -> String {
        let TlsFiles { ca, cert, key } = &self.files;
        let files = [("ca", ca), ("cert", cert), ("key", key)].into_iter();
        let files = files.filter_map(|(name, file)| Some((name, file.as_ref()?)));
        let shown: Vec<_> =
            files.map(|(name, file)| format!("{name}={}", file.display())).collect();
        if shown.is_empty() { String::new() } else { format!("?{}", shown.join("&")) }
    }
}

/// Writes the address without users and passwords.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.shown)
    }
}

/// Writes the address without users and passwords.
impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_shown_without_users_and_passwords() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost"),
            ("redis://ann:secret@10.0.0.1:6380/2", "redis://10.0.0.1:6380/2"),
            ("redis://:secret@[::1]:6380", "redis://[::1]:6380"),
            ("redis://:secret@a,b:7000", "redis://a,b:7000"),
            ("rediss://:secret@a?ca=/etc/ca.pem", "rediss://a?ca=/etc/ca.pem"),
            (
                "redis+sentinel://:secret@a,b/main/2?sentinel_password=secret",
                "redis+sentinel://a,b/main/2",
            ),
        ] {
            let url: RedisUrl = text.parse().unwrap();
            assert_eq!((url.to_string(), url.with_credentials()), (shown.to_owned(), text));
            assert_eq!(format!("{url:?}"), format!("RedisUrl({shown})"));
        }
    }

    #[test]
    fn address_is_made_of_host_port_and_password() {
        let made = |host, password| RedisUrl::of(host, 6380, password).unwrap();
        assert_eq!(made("10.0.0.1", None).with_credentials(), "redis://10.0.0.1:6380");
        assert_eq!(made("h", Some("a b/@")).with_credentials(), "redis://:a%20b%2F%40@h:6380");
        assert_eq!(made("::1", None).with_credentials(), "redis://[::1]:6380");
        assert!(RedisUrl::of("a b", 1, None).is_err());
    }

    #[test]
    fn error_about_an_address_does_not_contain_it() {
        for text in [
            "redis:ann:secret@host",
            "redis://:secret@",
            "redis://:secret@host:port",
            "redis://:secret@host/first",
            "redis://:secret@host?db=1",
            "redis://:secret@host?ca=/secret.pem",
            "rediss://:secret@host?key=/secret.pem",
            "redis://:secret@one,,two",
            "redis+sentinel://:secret@host",
            "redis://:secret@host?sentinel_password=secret",
            "http://:secret@host",
        ] {
            let error = text.parse::<RedisUrl>().unwrap_err();
            assert!(!error.contains("secret") && error.contains(FORM), "{error}");
        }
    }

    #[test]
    fn sentinels_and_the_master_have_parts_of_their_own() {
        let text = "rediss+sentinel://ann:a%40b@one,two:7/main/3?ca=/ca&sentinel_password=c%26d";
        let url: RedisUrl = text.parse().unwrap();
        let address = url.address();
        assert_eq!(address.servers, ["rediss://one:26379", "rediss://two:7"]);
        let sentinel = address.sentinel.as_ref().unwrap();
        assert_eq!((&*sentinel.service, &*sentinel.master), ("main", "rediss://ann:a%40b@one/3"));
        assert_eq!((&sentinel.user, sentinel.password.as_deref()), (&None, Some("c&d")));
        assert_eq!(address.files.ca, Some("/ca".into()));
    }

    #[test]
    fn nodes_of_a_cluster_have_the_same_password() {
        let url: RedisUrl = "redis://:a@one,two:7000/0".parse().unwrap();
        assert_eq!(url.address().servers, ["redis://:a@one/0", "redis://:a@two:7000/0"]);
        assert_eq!(url.address().sentinel, None);
    }
}
