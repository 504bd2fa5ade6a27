//! The sites of a push service: apps that share a server and nothing else.
//!
//! Each site has its own namespace, a url that authenticates its people ([`Authenticator`]), and a
//! key for its back ends. The sites are in `sites.yml`. They may be replaced while the server runs,
//! all at once: a reader never sees a mixture of two versions of the file.

mod auth;
mod invalid;
mod refusal;
mod refused_tokens;
mod site;
mod user_updates;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use backwire_environment::HashMap;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::settings::ApiKey;
use crate::yaml::{self, Document, FileProblem};

pub use crate::http::http_client::{HttpClient, RequestError};
pub(crate) use auth::Admission;
pub use auth::{Authenticator, Rooms};
pub use invalid::InvalidSite;
pub use refusal::Refusal;
pub use site::{AuthUrl, EventNames, Name, Scheme, Site, UpdateUserUrl};
pub(crate) use user_updates::{UserEvent, UserUpdates};

/// The path of the file if no other is set.
pub const DEFAULT_PATH: &str = "config/sites.yml";

/// All sites at one time.
pub type Table = Arc<BTreeMap<Name, Arc<Site>>>;

/// The current sites. Clones share them.
#[derive(Debug, Clone)]
pub struct Sites {
    table: Arc<watch::Sender<Table>>,
    /// Sites that were removed and may be added again.
    removed: Arc<Mutex<BTreeMap<Name, Arc<Site>>>>,
    file: Option<PathBuf>,
}

impl Default for Sites {
    /// No sites.
    fn default() -> Self {
        let table = Arc::new(watch::Sender::new(Table::default()));
        Self { table, removed: Arc::default(), file: None }
    }
}

impl Sites {
    /// Reads a file: the section of the environment, as
    /// [`Config::read`](crate::config::Config::read) does, or the whole file if it has no sections.
    pub fn read(file: &Path) -> Result<Self, FileProblem> {
        let sites = Self { file: Some(file.into()), ..Self::default() };
        sites.reload()?;
        Ok(sites)
    }

    /// Reads the file again. If it is not valid, the sites do not change.
    pub fn reload(&self) -> Result<(), FileProblem> {
        if let Some(file) = &self.file {
            let sites = yaml::read::<File>(file)?.0;
            if sites.is_empty() && !self.all().is_empty() && is_blank(file) {
                return Err(FileProblem::new("the file is empty: write {} to remove all sites")
                    .in_file(file));
            }
            check_resources(sites.iter())
                .map_err(|problem| FileProblem::new(problem.to_string()).in_file(file))?;
            self.replace(sites);
        }
        Ok(())
    }

    /// Replaces all sites. A site whose settings do not change keeps its `Arc`.
    pub fn replace(&self, sites: impl IntoIterator<Item = (Name, Site)>) {
        self.table.send_modify(|table| {
            let reuse = |name: &Name, site: Site| {
                let old = table.get(name).filter(|old| ***old == site);
                old.map_or_else(|| Arc::new(site), Arc::clone)
            };
            let new = sites.into_iter().map(|(name, site)| {
                let site = reuse(&name, site);
                (name, site)
            });
            let new: BTreeMap<_, _> = new.collect();
            let mut removed = self.removed.lock();
            removed.extend(table.iter().map(|(name, site)| (name.clone(), Arc::clone(site))));
            removed.retain(|name, _| !new.contains_key(name));
            *table = Arc::new(new);
        });
    }

    /// Adds a site, or replaces the one of this name.
    ///
    /// ```
    /// use backwire::sites::{Site, Sites};
    ///
    /// let sites = Sites::default();
    /// let shop = Site::new("https://shop.example/rooms".parse()?, "its key".parse()?);
    /// sites.insert("shop".parse()?, Site { most_waiting: 50, ..shop })?;
    /// assert_eq!(sites.get("shop").unwrap().most_waiting, 50);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert(&self, name: Name, site: Site) -> Result<(), InvalidSite> {
        let site = site.checked(&name)?;
        let table = self.all();
        let others = table.iter().filter(|(other, _)| **other != name);
        let others = others.map(|(name, site)| (name, &**site));
        check_resources(others.clone().chain([(&name, &site)]))?;
        let others: Vec<_> = others.map(|(name, site)| (name.clone(), site.clone())).collect();
        self.replace(others.into_iter().chain([(name, site)]));
        Ok(())
    }

    /// Returns the removed sites, with their last settings. Their clients wait for them to be added
    /// again.
    pub(crate) fn removed(&self) -> Vec<Arc<Site>> {
        self.removed.lock().values().cloned().collect()
    }

    /// Returns all sites.
    pub fn all(&self) -> Table {
        Arc::clone(&self.table.borrow())
    }

    /// Returns the site of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Site>> {
        self.table.borrow().get(name).cloned()
    }

    /// Returns the site of this name if the key is its key. A wrong key and a missing site take the
    /// same time.
    pub(crate) fn authenticate(&self, name: &str, key: &str) -> Option<(Name, Arc<Site>)> {
        static UNUSED_KEY: LazyLock<ApiKey> =
            LazyLock::new(|| "nobody's".parse().expect("it is not empty"));
        let table = self.all();
        let site = table.get_key_value(name);
        let is_key = site.map_or(&*UNUSED_KEY, |(_, site)| &site.api_key).is(key);
        let (name, site) = site.filter(|_| is_key)?;
        Some((name.clone(), Arc::clone(site)))
    }

    /// Returns a receiver of all sites: the current ones, and all later ones.
    pub fn changes(&self) -> watch::Receiver<Table> {
        self.table.subscribe()
    }

    /// Whether the resources belong to this site, and to no other.
    pub(crate) fn has_resources(&self, name: &str) -> bool {
        let table = self.all();
        let mut all = table.iter().filter(|(_, site)| site.resources).map(|(it, _)| it.as_str());
        all.next() == Some(name) && all.next().is_none()
    }

    /// Returns the file that the sites are read from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// Whether a file is empty, as it may be while another program writes it.
#[expect(clippy::disallowed_methods, reason = "this reads a file")]
fn is_blank(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.trim().is_empty())
}

/// Returns an error if two sites have resources. Two people of two sites may have the same id, and
/// access rules could not distinguish them.
fn check_resources<'a>(
    sites: impl Iterator<Item = (&'a Name, &'a Site)>,
) -> Result<(), InvalidSite> {
    let mut names = sites.filter(|(_, site)| site.resources).map(|(name, _)| name);
    match (names.next(), names.next()) {
        (Some(one), Some(other)) => Err(InvalidSite::Resources(one.to_string(), other.to_string())),
        _ => Ok(()),
    }
}

/// Writes the sites as their file has them, without the keys.
impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, site) in &*self.all() {
            write!(f, "{name}:\n{site}")?;
        }
        Ok(())
    }
}

/// The content of `sites.yml`.
#[derive(Default, Deserialize)]
#[serde(transparent)]
struct File(BTreeMap<Name, Site>);

impl Document for File {
    /// Sites have values that are not mappings, and sections contain sites.
    fn has_no_sections(yaml: &str, _: &[String]) -> bool {
        let entries: Result<HashMap<String, Option<HashMap<String, Value>>>, _> =
            yaml::deserialize(yaml);
        entries.map_or(true, |entries| {
            let mut values = entries.values().flatten().flat_map(HashMap::values);
            values.any(|value| !value.is_object() && !value.is_null())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(yaml: &str) -> Result<Sites, String> {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("sites.yml");
        std::fs::write(&file, yaml).unwrap();
        let folder = format!("{}/", home.path().display());
        Sites::read(&file).map_err(|problem| problem.to_string().replace(&folder, ""))
    }

    const NEWSITE: &str = "newsite:
  authUrl: http://newsite.com/socketrooms
  authScheme: Bearer
  apiKey: 54321
  userRoomPrefix: user_
";

    fn changed(from: &str, to: &str) -> Result<Sites, String> {
        assert!(NEWSITE.contains(from));
        read(&NEWSITE.replace(from, to))
    }

    #[test]
    fn sites_of_a_socketio_web_service_are_read_with_sections_and_without() {
        let in_section = format!("production:\n  {}\n", NEWSITE.trim_end().replace('\n', "\n  "));
        let other = "development:\n  other: {authUrl: 'http://localhost', apiKey: {env: HOME}}\n";
        for yaml in [NEWSITE, &in_section, &format!("{in_section}{other}")] {
            let sites = read(yaml).unwrap();
            assert_eq!(sites.all().len(), 1);
            let site = sites.get("newsite").unwrap();
            assert!(site.api_key.is("54321"));
            assert_eq!(site.auth_url.uri(), "http://newsite.com/socketrooms");
            assert!(site.is_user_room("user_1") && !site.is_user_room("staff"));
        }
        assert_eq!(read("").unwrap().all().len(), 0);
        assert_eq!(read("production:\n").unwrap().all().len(), 0);
        assert_eq!(
            read(other).unwrap_err(),
            "sites.yml: there is no section production, only development"
        );
    }

    #[test]
    fn unquoted_numbers_are_read_as_texts_without_change() {
        let site = changed("54321", "0123").unwrap().get("newsite").unwrap();
        assert!(site.api_key.is("0123"));
        let site = changed("user_", "007").unwrap().get("newsite").unwrap();
        assert_eq!(site.user_room_prefix.as_deref(), Some("007"));
        let site = changed("Bearer", "0x10").unwrap().get("newsite").unwrap();
        assert_eq!(site.auth_scheme.header("t").unwrap(), "0x10 t");
        assert!(changed("newsite:", "2048:").unwrap().get("2048").is_some());
    }

    #[test]
    fn invalid_value_is_an_error_with_line_and_column_and_without_the_key() {
        for (from, to, expected) in [
            ("authUrl", "authURL", "sites.yml:2:3: unknown key authURL; did you mean authUrl?"),
            (
                "authUrl: http",
                "authUrl: ftp",
                "sites.yml:2:12: \"ftp://newsite.com/socketrooms\" is",
            ),
            (
                "http://",
                "http://me:mine@",
                "sites.yml:2:12: a url of a site has no name and password",
            ),
            ("Bearer", "'Bearer x'", "sites.yml:3:15: it is a word of visible ASCII"),
            ("  apiKey: 54321\n", "", "sites.yml:4:3: apiKey is missing"),
            ("54321", "{file: /nowhere/54321}", "sites.yml:4:11: /nowhere/54321: "),
            ("newsite:", "new/site:", "sites.yml:1:1: \"new/site\" cannot be a site: a name has"),
            (
                "newsite:",
                "Admin:",
                "sites.yml:1:1: \"Admin\" cannot be a site: the name is reserved",
            ),
            (
                "user_",
                "user_\n  resources: true\nother: {authUrl: 'http://o', apiKey: 1, resources: true}",
                "sites.yml: newsite and other both have `resources`",
            ),
            ("user_", "user_\n  eventNames: plan", "sites.yml:6:15: unknown value plan; did you"),
            (
                "user_",
                "user_\n  mostWaiting: 0",
                "sites.yml:6:16: mostWaiting: 0 is not a number from 1 to 1000000",
            ),
            (
                "user_",
                "user_\n  authTimeout: 0",
                "sites.yml:6:16: authTimeout: 0 is not 1 to 300 seconds",
            ),
            ("user_", "user_\n  recheck: 0", "sites.yml:6:12: recheck: 0 is not 1 second or more"),
            (
                "user_",
                "user_\n  batchTimeout: 301",
                "sites.yml:6:17: batchTimeout: 301 is not 1 to 300 seconds",
            ),
            (
                "user_",
                "user_\n  origins: here",
                "sites.yml:6:12: \"here\" is not an origin: expected",
            ),
            ("user_", "user_\n  apiKey: 1", "sites.yml:6:3: "),
            ("newsite:", "newsite: {}\nother:", "sites.yml:1:"),
        ] {
            let refused = changed(from, to).unwrap_err();
            assert!(refused.starts_with(expected) && !refused.contains(" at line"), "{refused}");
            assert!(to.contains("54321") || !refused.contains("54321"), "{refused}");
        }
    }

    #[test]
    fn wrong_value_of_any_key_is_an_error_in_plain_wording_without_the_key() {
        let keys = yaml::keys_of::<Site>();
        assert!(keys.contains(&"batchTimeout"), "{keys:?}");
        for (key, value) in keys.iter().flat_map(|key| yaml::WRONG_VALUES.map(|it| (key, it))) {
            let others = NEWSITE.lines().filter(|line| !line.contains(&format!("{key}:")));
            let others = others.collect::<Vec<_>>().join("\n");
            if let Err(refused) = read(&format!("{others}\n  {key}: {value}\n")) {
                yaml::assert_plain_wording(&refused);
                let is_hidden = *key == "apiKey" && !value.starts_with("{file");
                assert!(!is_hidden || !refused.contains("eighty"), "{refused}");
            }
        }
        for yaml in ["newsite: 5", "newsite: [1]", "- newsite", "production: {newsite: 5, x: {}}"] {
            yaml::assert_plain_wording(&read(yaml).unwrap_err());
        }
    }

    #[test]
    fn key_without_a_value_is_an_error_and_not_the_key_tilde() {
        let secret = "a secret is missing: expected a text, {file: …} or {env: …}";
        for (line, column, value) in
            [(4, 9, ""), (4, 11, "~"), (4, 11, "null"), (4, 11, "NULL"), (4, 18, "!!null ''")]
        {
            let refused = changed("54321", value).unwrap_err();
            assert_eq!(refused, format!("sites.yml:{line}:{column}: {secret}"), "{value}");
        }
        let text = "a text is missing: write ~ or null in quotes to use it as a text";
        for (from, to, at) in [
            ("54321", "{file: }", "4:16"),
            ("54321", "{env: ~}", "4:17"),
            ("http://newsite.com/socketrooms", "null", "2:12"),
            ("http://newsite.com/socketrooms", "", "2:10"),
            ("Bearer", "~", "3:15"),
            ("Bearer", "", "3:13"),
        ] {
            let refused = changed(from, to).unwrap_err();
            assert_eq!(refused, format!("sites.yml:{at}: {text}"), "{to}");
        }
        for (from, blank) in [("54321", "''"), ("54321", "'  '")] {
            let refused = changed(from, blank).unwrap_err();
            assert!(refused.starts_with("sites.yml:4:11: a key has at least one"), "{refused}");
        }
        let site = |to| changed("54321", to).unwrap().get("newsite").unwrap();
        assert!(site("'~'").api_key.is("~"));
        assert!(site("\"null\"").api_key.is("null"));
    }

    #[test]
    fn display_shows_the_current_settings_without_the_key() {
        let own = "user_\n  origins: ['*', 'https://A.example/']\n  publicChannel: public\n  updateUserUrl: http://newsite.com/users/:id\n  clientTtl: 0\n  eventNames: underscored\n  mostWaiting: 5\n  mostDevices: 7\n  \
                   batchTimeout: 20s\n  authTimeout: 2s\n  authAtOnce: 3\n  recheck: 10m";
        let sites = changed("user_", own).unwrap();
        assert_eq!(sites.get("newsite").unwrap().client_ttl, Some(Duration::ZERO));
        let shown = sites.to_string();
        assert_eq!(
            shown,
            "newsite:\n  authUrl: http://newsite.com/socketrooms\n  authScheme: Bearer\n  \
             apiKey: (set)\n  userRoomPrefix: \"user_\"\n  origins: ['*', https://a.example]\n  publicChannel: \"public\"\n  \
             updateUserUrl: http://newsite.com/users/:id\n  clientTtl: 0\n  \
             eventNames: underscored\n  mostWaiting: 5\n  mostDevices: 7\n  batchTimeout: 20\n  authTimeout: 2\n  authAtOnce: 3\n  \
             recheck: 600\n  resources: false\n"
        );
        assert!(!format!("{sites:?}").contains("54321"));
        let again = shown.replace("(set)", "54321");
        assert_eq!(read(&again).unwrap().get("newsite"), sites.get("newsite"));
    }

    #[test]
    fn file_that_became_invalid_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("sites.yml");
        std::fs::write(&file, NEWSITE).unwrap();
        let sites = Sites::read(&file).unwrap();
        let mut changes = sites.changes();
        let first = sites.get("newsite").unwrap();
        for unusable in ["newsite: [", "", "  \n"] {
            std::fs::write(&file, unusable).unwrap();
            assert!(sites.reload().is_err(), "{unusable:?}");
            assert!(!changes.has_changed().unwrap());
        }
        let other = NEWSITE.replace("newsite:", "other:");
        std::fs::write(&file, format!("{NEWSITE}{other}")).unwrap();
        sites.reload().unwrap();
        assert_eq!(changes.borrow_and_update().len(), 2);
        assert!(Arc::ptr_eq(&sites.get("newsite").unwrap(), &first));
        std::fs::write(&file, other.replace("54321", "12345")).unwrap();
        sites.clone().reload().unwrap();
        assert!(sites.get("newsite").is_none());
        assert!(sites.get("other").unwrap().api_key.is("12345"));
        std::fs::write(&file, "{}").unwrap();
        sites.reload().unwrap();
        assert!(sites.all().is_empty());
    }

    fn shop() -> Site {
        Site::new("http://shop.example/rooms".parse().unwrap(), "54321".parse().unwrap())
    }

    fn insert(sites: &Sites, name: &str, site: Site) -> Result<(), InvalidSite> {
        sites.insert(name.parse().unwrap(), site)
    }

    #[test]
    fn site_that_is_added_equals_that_of_a_file() {
        let of_file = read("shop: {authUrl: 'http://shop.example/rooms', apiKey: 54321}").unwrap();
        let sites = Sites::default();
        insert(&sites, "shop", shop()).unwrap();
        assert_eq!(sites.to_string(), of_file.to_string());
        assert_eq!(sites.get("shop"), of_file.get("shop"));
        // Every room begins with an empty prefix, so it counts as none.
        let empty = Some(String::new());
        let site = Site { user_room_prefix: empty.clone(), public_channel: empty, ..shop() };
        insert(&sites, "shop", site).unwrap();
        assert_eq!(*sites.get("shop").unwrap(), shop());
    }

    #[test]
    fn site_with_an_invalid_value_is_not_added() {
        let sites = Sites::default();
        let second = Duration::from_secs(1);
        for (site, expected) in [
            (
                Site { most_waiting: 0, ..shop() },
                "shop.mostWaiting is not a number from 1 to 1000000",
            ),
            (
                Site { most_devices: 1_000_001, ..shop() },
                "shop.mostDevices is not a number from 1 to 1000000",
            ),
            (
                Site { auth_at_once: 0, ..shop() },
                "shop.authAtOnce is not a number from 1 to 1000000",
            ),
            (
                Site { batch_timeout: 301 * second, ..shop() },
                "shop.batchTimeout is not 1 to 300 seconds",
            ),
            (
                Site { auth_timeout: second / 2, ..shop() },
                "shop.authTimeout is not 1 to 300 seconds",
            ),
            (
                Site { recheck: Some(Duration::ZERO), ..shop() },
                "shop.recheck is not 1 second or more",
            ),
        ] {
            assert_eq!(insert(&sites, "shop", site).unwrap_err().to_string(), expected);
        }
        assert!(sites.all().is_empty());
        let with_resources = || Site { resources: true, ..shop() };
        insert(&sites, "shop", with_resources()).unwrap();
        insert(&sites, "shop", with_resources()).unwrap();
        let refused = insert(&sites, "other", with_resources()).unwrap_err();
        assert_eq!(refused.code(), "E_SITE_RESOURCES");
        assert_eq!(sites.all().len(), 1);
    }
}
