//! From a path to what it is about: `/todo`, `/todo/7`, `/todo/find/7`. Pure.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use backwire_records::change::{Id, Resource};
use backwire_records::model::{Association, Link, Models};
use http::Method;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::error::{Error, Result};

/// How resources are to be reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths {
    /// What all paths of resources begin with: `/api`.
    pub prefix: String,
    /// What those begin with after it that are not shortcuts: `/v1`.
    pub rest_prefix: String,
    /// Which shortcuts there are.
    pub shortcuts: Shortcuts,
}

/// Paths that say what is to be done: `/todo/find`, `/todo/update/7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shortcuts {
    /// None.
    Off,
    /// Those that read.
    #[default]
    Read,
    /// Those that write as well. A `GET` writes then, and any page can have a browser send one.
    Write,
}

impl FromStr for Shortcuts {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            _ => Err(format!("unknown shortcuts {text:?}; expected off, read or write")),
        }
    }
}

/// What a path is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) resource: Resource,
    pub(crate) id: Option<Id>,
    /// What the path says that is to be done; otherwise the verb says it.
    pub(crate) deed: Option<Deed>,
    /// What of the record's it is about, if it is not the record itself.
    pub(crate) within: Option<Within>,
}

/// An association of a record, and perhaps one of the associated: `/user/1/pets/2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Within {
    pub(crate) attribute: String,
    pub(crate) association: Association,
    pub(crate) id: Option<Id>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Find,
    Create,
    Update,
    /// An update that may create.
    Put,
    Destroy,
}

/// Paths, and what they lead to.
#[derive(Debug, Clone)]
pub(crate) struct Routing {
    paths: Paths,
    models: Arc<Models>,
    /// Resources that have handlers of their own; there are no shortcuts past these.
    own: HashSet<Resource>,
}

impl Routing {
    pub(crate) fn new(paths: Paths, models: Arc<Models>) -> Self {
        Self { paths, models, own: HashSet::new() }
    }

    /// Whether there are paths where a `GET` writes.
    pub(crate) fn writes_with_get(&self) -> bool {
        self.paths.shortcuts == Shortcuts::Write
    }

    /// Knows that the resource at this path, `/todo` or `/todo/{id}`, has handlers of its own.
    pub(crate) fn with_own(mut self, path: &str) -> Self {
        let route = self.read(&path.replace(['{', '}'], ""));
        self.own.extend(route.ok().map(|route| route.resource));
        self
    }

    /// How the path is spelled that handlers of a resource's own were given for.
    pub(crate) fn spelling(&self, path: &str) -> Option<String> {
        let route = self.read(path).ok().filter(|route| self.own.contains(&route.resource))?;
        let Paths { prefix, rest_prefix, .. } = &self.paths;
        let [prefix, rest_prefix] = [prefix, rest_prefix].map(|it| it.trim_end_matches('/'));
        let model = self.models.of(&route.resource)?;
        let name = model.plural.as_deref().unwrap_or(route.resource.as_str());
        // The id as it came: decoded, it might no longer be one segment.
        let id = path.strip_suffix('/').unwrap_or(path).rsplit('/').next();
        let id = id.filter(|_| route.id.is_some()).map(|id| format!("/{id}")).unwrap_or_default();
        Some(format!("{prefix}{rest_prefix}/{name}{id}"))
    }

    /// What this path is about. Upper and lower case are the same but in an id, and a slash at the end is
    /// none.
    pub(crate) fn read(&self, path: &str) -> Result<Route> {
        let nothing = || Error::NoRoute(path.to_owned());
        let path_below = below(path, &self.paths.prefix).ok_or_else(nothing)?;
        let shortcut = segments(path_below)?;
        if let [name, word, id @ ..] = &*shortcut
            && let Some(deed) = self.shortcut(word)
            && let Some(resource) = self.resource(name).filter(|it| !self.own.contains(it))
            && id.len() <= 1
        {
            let id = id.first().map(|id| Id::parse(id).ok_or_else(nothing)).transpose()?;
            return Ok(Route { resource, id, deed: Some(deed), within: None });
        }
        if let Some(route) = self.membership(&shortcut) {
            return Ok(route);
        }
        let rest = below(path_below, &self.paths.rest_prefix).ok_or_else(nothing)?;
        let segments = segments(rest)?;
        let (name, ids) = segments.split_first().ok_or_else(nothing)?;
        let resource = self.resource(name).ok_or_else(nothing)?;
        let parsed = |id: &String| Id::parse(id).ok_or_else(nothing);
        let (id, within) = match ids {
            [] => (None, None),
            [id] => (Some(parsed(id)?), None),
            [id, attribute, member @ ..] if member.len() <= 1 => {
                let member = member.first().map(parsed).transpose()?;
                let within = self.within(&resource, attribute, member);
                (Some(parsed(id)?), Some(within.ok_or_else(nothing)?))
            }
            _ => return Err(nothing()),
        };
        Ok(Route { resource, id, deed: None, within })
    }

    /// A shortcut that writes to a collection: `user 1 pets add 2`.
    fn membership(&self, segments: &[String]) -> Option<Route> {
        let [name, id, attribute, word, member @ ..] = segments else { return None };
        let (deed, member) = match (&*word.to_ascii_lowercase(), member) {
            ("add", [id]) => (Deed::Put, Some(Id::parse(id)?)),
            ("remove", [id]) => (Deed::Destroy, Some(Id::parse(id)?)),
            ("replace", []) => (Deed::Put, None),
            _ => return None,
        };
        let (resource, id) = (self.resource(name)?, Some(Id::parse(id)?));
        let within = self.within(&resource, attribute, member)?;
        let is_one = matches!(within.association.link, Link::Holds { .. });
        if is_one || self.paths.shortcuts != Shortcuts::Write {
            return None;
        }
        Some(Route { resource, id, deed: Some(deed), within: Some(within) })
    }

    /// No more than shortcuts do associations lead past handlers of a resource's own.
    fn within(&self, resource: &Resource, name: &str, id: Option<Id>) -> Option<Within> {
        let (attribute, association) = self.models.associations().named(resource, name)?;
        let is_own = [resource, &association.target].iter().any(|it| self.own.contains(it));
        let (attribute, association) = (attribute.to_owned(), association.clone());
        let is_one = matches!(association.link, Link::Holds { .. });
        (!is_own && (!is_one || id.is_none())).then_some(Within { attribute, association, id })
    }

    fn resource(&self, name: &str) -> Option<Resource> {
        self.models.named(Resource::parse(name)?)
    }

    fn shortcut(&self, word: &str) -> Option<Deed> {
        let deed = match &*word.to_ascii_lowercase() {
            "find" => Deed::Find,
            "create" => Deed::Create,
            "update" => Deed::Update,
            "destroy" => Deed::Destroy,
            _ => return None,
        };
        match (self.paths.shortcuts, deed) {
            (Shortcuts::Write, _) | (Shortcuts::Read, Deed::Find) => Some(deed),
            _ => None,
        }
    }
}

impl Route {
    /// What is to be done, with this verb.
    pub(crate) fn deed(&self, method: &Method) -> Option<Deed> {
        if let (None, Some(within)) = (self.deed, &self.within) {
            return within.deed(method);
        }
        match (self.deed, method) {
            // All that a shortcut is about it says itself, so any verb will do that does not contradict it.
            (Some(deed), &Method::GET | &Method::POST) => Some(deed),
            (Some(Deed::Find), &Method::HEAD) => Some(Deed::Find),
            (Some(deed @ (Deed::Update | Deed::Put)), &Method::PUT | &Method::PATCH) => Some(deed),
            (Some(Deed::Destroy), &Method::DELETE) => Some(Deed::Destroy),
            (Some(_), _) => None,
            (None, &Method::GET | &Method::HEAD) => Some(Deed::Find),
            (None, &Method::POST) if self.id.is_none() => Some(Deed::Create),
            (None, &Method::PUT) => Some(Deed::Put),
            (None, &Method::PATCH) => Some(Deed::Update),
            (None, &Method::DELETE) => Some(Deed::Destroy),
            (None, _) => None,
        }
    }

    /// The verbs that are understood here.
    pub(crate) fn verbs(&self) -> &'static str {
        if let (None, Some(within)) = (self.deed, &self.within) {
            return within.verbs();
        }
        match (self.deed, &self.id) {
            (Some(Deed::Find), _) => "GET,HEAD,POST,OPTIONS",
            (Some(Deed::Create), _) => "GET,POST,OPTIONS",
            (Some(Deed::Update | Deed::Put), _) => "GET,POST,PUT,PATCH,OPTIONS",
            (Some(Deed::Destroy), _) => "GET,POST,DELETE,OPTIONS",
            (None, None) => "GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS",
            (None, Some(_)) => "GET,HEAD,PUT,PATCH,DELETE,OPTIONS",
        }
    }
}

impl Within {
    fn deed(&self, method: &Method) -> Option<Deed> {
        match (method, &self.association.link, &self.id) {
            (&Method::GET | &Method::HEAD, ..) => Some(Deed::Find),
            (_, Link::Holds { .. }, _) => None,
            (&Method::POST, _, None) => Some(Deed::Create),
            (&Method::PUT, ..) => Some(Deed::Put),
            (&Method::PATCH, _, Some(_)) => Some(Deed::Update),
            (&Method::DELETE, _, Some(_)) => Some(Deed::Destroy),
            _ => None,
        }
    }

    fn verbs(&self) -> &'static str {
        match (&self.association.link, &self.id) {
            (Link::Holds { .. }, _) => "GET,HEAD,OPTIONS",
            (_, None) => "GET,HEAD,POST,PUT,OPTIONS",
            (_, Some(_)) => "GET,HEAD,PUT,PATCH,DELETE,OPTIONS",
        }
    }
}

/// The path below a prefix.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let prefix = prefix.trim_end_matches('/');
    let (start, rest) = path.split_at_checked(prefix.len())?;
    (start.eq_ignore_ascii_case(prefix) && rest.starts_with('/')).then_some(rest)
}

/// What is between the slashes, decoded.
fn segments(path: &str) -> Result<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let decoded = |segment| percent_decode_str(segment).decode_utf8().map_err(|_| Error::BadUrl);
    path.split('/').map(|segment| decoded(segment).map(Into::into)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use backwire_records::model::{Attribute, Model, Undeclared};

    fn router(prefix: &str, rest_prefix: &str, shortcuts: Shortcuts) -> Routing {
        let mut models = Models::default();
        let person = Model { plural: Some("people".to_owned()), ..Model::default() }
            .attribute("pets", Attribute::collection("pet", "owner"));
        let pet = Model::default().attribute("owner", Attribute::model("person"));
        models.declare("person", person).unwrap();
        models.declare("pet", pet).unwrap();
        models.associate().unwrap();
        let paths =
            Paths { prefix: prefix.to_owned(), rest_prefix: rest_prefix.to_owned(), shortcuts };
        Routing::new(paths, Arc::new(models))
    }

    /// `todo 7 Find`, with `-` for what is not said.
    fn read(router: &Routing, path: &str) -> String {
        match router.read(path) {
            Err(Error::BadUrl) => "bad".to_owned(),
            Err(_) => "nothing".to_owned(),
            Ok(Route { resource, id: of, deed, within }) => {
                let id = |id: Option<Id>| id.map_or("-".to_owned(), |id| id.to_string());
                let within = within.map(|it| format!(" {} {}", it.attribute, id(it.id)));
                let deed = deed.map_or("-".to_owned(), |deed| format!("{deed:?}"));
                format!("{resource} {} {deed}{}", id(of), within.unwrap_or_default())
            }
        }
    }

    #[test]
    fn a_path_names_a_resource_and_perhaps_a_record() {
        let router = router("", "", Shortcuts::Read);
        for (path, expected) in [
            ("/todo", "todo - -"),
            ("/TODO/", "todo - -"),
            ("/todo/7", "todo 7 -"),
            ("/todo/A%2Fb/", "todo A/b -"),
            ("/people/7", "person 7 -"),
            ("/person/7", "nothing"),
            ("/todo/7/8", "nothing"),
            ("/people/7/Pets", "person 7 - pets -"),
            ("/people/7/pets/8/", "person 7 - pets 8"),
            ("/people/7/pets/8/9", "nothing"),
            ("/people/7/cats", "nothing"),
            ("/pet/8/owner", "pet 8 - owner -"),
            ("/pet/8/owner/7", "nothing"),
            ("/", "nothing"),
            ("//7", "nothing"),
            ("/todo/%ff", "bad"),
            ("/health", "nothing"),
        ] {
            assert_eq!(read(&router, path), expected, "{path}");
        }
    }

    #[test]
    fn a_shortcut_says_what_is_to_be_done_where_it_is_switched_on() {
        let [off, some, all] = [Shortcuts::Off, Shortcuts::Read, Shortcuts::Write]
            .map(|shortcuts| router("", "", shortcuts));
        assert_eq!(read(&off, "/todo/find"), "todo find -");
        assert_eq!(read(&some, "/todo/Find"), "todo - Find");
        assert_eq!(read(&some, "/todo/find/7/"), "todo 7 Find");
        assert_eq!(read(&some, "/todo/create"), "todo create -");
        assert_eq!(read(&all, "/todo/update/7"), "todo 7 Update");
        assert_eq!(read(&all, "/todo/update/7/8"), "nothing");
        assert_eq!(read(&all, "/people/7/pets/Add/8"), "person 7 Put pets 8");
        assert_eq!(read(&all, "/people/7/pets/remove/8"), "person 7 Destroy pets 8");
        assert_eq!(read(&all, "/people/7/pets/replace"), "person 7 Put pets -");
        assert_eq!(read(&all, "/people/7/pets/add"), "person 7 - pets add");
        assert_eq!(read(&all, "/pet/8/owner/replace"), "nothing");
        assert_eq!(read(&some, "/people/7/pets/add/8"), "nothing");
    }

    #[test]
    fn prefixes_come_first() {
        let router = router("/api", "/v1", Shortcuts::Read);
        assert_eq!(read(&router, "/API/v1/todo/7"), "todo 7 -");
        assert_eq!(read(&router, "/api/todo/find/7"), "todo 7 Find");
        for nothing in ["/api/todo/7", "/todo/7", "/apiv1/todo", "/api", "/api/v1"] {
            assert_eq!(read(&router, nothing), "nothing", "{nothing}");
        }
    }

    #[test]
    fn what_is_not_declared_is_not_there_if_that_is_asked_for() {
        let mut models = Models::default();
        models.undeclared(Undeclared::Refuse);
        let router = Routing::new(Paths::default(), Arc::new(models));
        assert_eq!(read(&router, "/todo"), "nothing");
    }

    #[test]
    fn the_verb_says_what_is_to_be_done_where_the_path_does_not() {
        let router = router("", "", Shortcuts::Write);
        let deed = |method: Method, path| router.read(path).unwrap().deed(&method);
        assert_eq!(deed(Method::POST, "/todo"), Some(Deed::Create));
        assert_eq!(deed(Method::POST, "/todo/7"), None);
        assert_eq!(deed(Method::HEAD, "/todo/7"), Some(Deed::Find));
        assert_eq!(deed(Method::GET, "/todo/destroy/7"), Some(Deed::Destroy));
        assert_eq!(deed(Method::DELETE, "/todo/destroy/7"), Some(Deed::Destroy));
        assert_eq!(deed(Method::PUT, "/todo/update/7"), Some(Deed::Update));
        assert_eq!(deed(Method::POST, "/todo/find"), Some(Deed::Find));
        assert_eq!(deed(Method::PUT, "/todo/destroy/7"), None);
        assert_eq!(deed(Method::HEAD, "/todo/destroy/7"), None);
        assert_eq!(deed(Method::TRACE, "/todo"), None);
    }
}
