//! Parses a path into the resource and record that it names: `/todo`, `/todo/7`, `/todo/find/7`.
//! Pure.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use backwire_environment::HashSet;
use backwire_records::change::{Id, Resource};
use backwire_records::model::{Association, Link, Models};
use backwire_records::write::WriteError;
use http::Method;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::error::{Error, Result};

/// The paths of resources.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths {
    /// The prefix of all paths of resources: `/api`.
    pub prefix: String,
    /// The prefix, after [`prefix`](Self::prefix), of paths that are not shortcuts: `/v1`.
    pub rest_prefix: String,
    /// Which shortcuts exist.
    pub shortcuts: Shortcuts,
}

/// Paths that name an operation: `/todo/find`, `/todo/update/7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shortcuts {
    /// No shortcuts.
    Off,
    /// Shortcuts that read.
    #[default]
    Read,
    /// Shortcuts that read or write. A `GET` can then write, and any page can make a browser send
    /// one.
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

/// The resource, record and operation that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) resource: Resource,
    pub(crate) id: Option<Id>,
    /// The operation that the path names. If it names none, the method of the request decides.
    pub(crate) operation: Option<Operation>,
    /// The association of the record, if the path names one.
    pub(crate) nested: Option<NestedRoute>,
}

/// An association of a record, and optionally one of the associated records: `/user/1/pets/2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NestedRoute {
    pub(crate) attribute: String,
    pub(crate) association: Association,
    pub(crate) id: Option<Id>,
}

/// The operation of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Find,
    Create,
    Update,
    /// An update that may create the record.
    Put,
    Destroy,
}

/// Maps paths to routes.
#[derive(Debug, Clone)]
pub(crate) struct Routing {
    paths: Paths,
    models: Arc<Models>,
    /// Resources with handlers of the user. Shortcuts do not bypass these handlers.
    overridden: HashSet<Resource>,
}

impl Routing {
    pub(crate) fn new(paths: Paths, models: Arc<Models>) -> Self {
        Self { paths, models, overridden: HashSet::default() }
    }

    /// Whether some paths allow a `GET` to write.
    pub(crate) fn writes_with_get(&self) -> bool {
        self.paths.shortcuts == Shortcuts::Write
    }

    /// Records that handlers of the user override the resource at this path, `/todo` or
    /// `/todo/{id}`.
    pub(crate) fn with_override(mut self, path: &str) -> Self {
        let route = self.read(&path.replace(['{', '}'], ""));
        self.overridden.extend(route.ok().map(|route| route.resource));
        self
    }

    /// Returns the canonical form of a path, if handlers of the user override its resource.
    pub(crate) fn canonical_path(&self, path: &str) -> Option<String> {
        let route =
            self.read(path).ok().filter(|route| self.overridden.contains(&route.resource))?;
        let Paths { prefix, rest_prefix, .. } = &self.paths;
        let [prefix, rest_prefix] = [prefix, rest_prefix].map(|it| it.trim_end_matches('/'));
        let model = self.models.of(&route.resource)?;
        let name = model.plural.as_deref().unwrap_or(route.resource.as_str());
        // The id stays encoded: decoded, it might no longer be one segment.
        let id = path.strip_suffix('/').unwrap_or(path).rsplit('/').next();
        let id = id.filter(|_| route.id.is_some()).map(|id| format!("/{id}")).unwrap_or_default();
        Some(format!("{prefix}{rest_prefix}/{name}{id}"))
    }

    /// Returns the paths of the declared resources.
    pub(crate) fn declared_paths(&self) -> BTreeMap<String, Resource> {
        let Paths { prefix, rest_prefix, .. } = &self.paths;
        let [prefix, rest_prefix] = [prefix, rest_prefix].map(|it| it.trim_end_matches('/'));
        let paths = self.models.declared().flat_map(|(resource, model)| {
            let name = model.plural.as_deref().unwrap_or(resource.as_str());
            // Shortcuts are not below the second prefix.
            [format!("{prefix}/{name}"), format!("{prefix}{rest_prefix}/{name}")]
                .map(|path| (path, resource.clone()))
        });
        paths.collect()
    }

    /// Parses a path. Upper and lower case are the same, except in an id. A slash at the end is
    /// ignored.
    pub(crate) fn read(&self, path: &str) -> Result<Route> {
        let no_route = || Error::NoRoute(path.to_owned());
        let no_id = || match percent_decode_str(path).any(|byte| byte.is_ascii_control()) {
            true => WriteError::BadId.into(),
            false => no_route(),
        };
        let path_below = strip_path_prefix(path, &self.paths.prefix).ok_or_else(no_route)?;
        let shortcut = segments(path_below)?;
        if let [name, word, id @ ..] = &*shortcut
            && let Some(operation) = self.shortcut(word)
            && let Some(resource) = self.resource(name).filter(|it| !self.overridden.contains(it))
            && id.len() <= 1
        {
            let id = id.first().map(|id| self.id(&resource, id).ok_or_else(no_id)).transpose()?;
            return Ok(Route { resource, id, operation: Some(operation), nested: None });
        }
        if let Some(route) = self.collection_shortcut(&shortcut) {
            return Ok(route);
        }
        let rest = strip_path_prefix(path_below, &self.paths.rest_prefix).ok_or_else(no_route)?;
        let segments = segments(rest)?;
        let (name, ids) = segments.split_first().ok_or_else(no_route)?;
        let resource = self.resource(name).ok_or_else(no_route)?;
        let parsed = |id: &String| self.id(&resource, id).ok_or_else(no_id);
        let (id, nested) = match ids {
            [] => (None, None),
            [id] => (Some(parsed(id)?), None),
            [id, attribute, member @ ..] if member.len() <= 1 => {
                let nested = self.nested(&resource, attribute, member.first());
                (Some(parsed(id)?), Some(nested.ok_or_else(no_id)?))
            }
            _ => return Err(no_route()),
        };
        Ok(Route { resource, id, operation: None, nested })
    }

    /// Parses a shortcut that writes to a collection: `user 1 pets add 2`.
    fn collection_shortcut(&self, segments: &[String]) -> Option<Route> {
        let [name, id, attribute, word, member @ ..] = segments else { return None };
        let (operation, member) = match (&*word.to_ascii_lowercase(), member) {
            ("add", [id]) => (Operation::Put, Some(id)),
            ("remove", [id]) => (Operation::Destroy, Some(id)),
            ("replace", []) => (Operation::Put, None),
            _ => return None,
        };
        let resource = self.resource(name)?;
        let id = Some(self.id(&resource, id)?);
        let nested = self.nested(&resource, attribute, member)?;
        let is_one = matches!(nested.association.link, Link::Holds { .. });
        if is_one || self.paths.shortcuts != Shortcuts::Write {
            return None;
        }
        Some(Route { resource, id, operation: Some(operation), nested: Some(nested) })
    }

    /// Parses the association of a record. Like shortcuts, associations do not bypass handlers of
    /// the user.
    fn nested(&self, resource: &Resource, name: &str, id: Option<&String>) -> Option<NestedRoute> {
        let (attribute, association) = self.models.associations().named(resource, name)?;
        let id = match id {
            Some(id) => Some(self.id(&association.target, id)?),
            None => None,
        };
        let resources = [resource, &association.target];
        let is_overridden = resources.iter().any(|it| self.overridden.contains(it));
        let (attribute, association) = (attribute.to_owned(), association.clone());
        let is_one = matches!(association.link, Link::Holds { .. });
        let is_allowed = !is_overridden && (!is_one || id.is_none());
        is_allowed.then_some(NestedRoute { attribute, association, id })
    }

    /// Returns the id in a path.
    fn id(&self, resource: &Resource, text: &str) -> Option<Id> {
        self.models.of(resource)?.id_in_url(text)
    }

    fn resource(&self, name: &str) -> Option<Resource> {
        self.models.named(Resource::parse(name)?)
    }

    fn shortcut(&self, word: &str) -> Option<Operation> {
        let operation = match &*word.to_ascii_lowercase() {
            "find" => Operation::Find,
            "create" => Operation::Create,
            "update" => Operation::Update,
            "destroy" => Operation::Destroy,
            _ => return None,
        };
        match (self.paths.shortcuts, operation) {
            (Shortcuts::Write, _) | (Shortcuts::Read, Operation::Find) => Some(operation),
            _ => None,
        }
    }
}

impl Route {
    /// Returns the operation for a request with this method.
    pub(crate) fn operation(&self, method: &Method) -> Option<Operation> {
        if let (None, Some(nested)) = (self.operation, &self.nested) {
            return nested.operation(method);
        }
        match (self.operation, method) {
            // A shortcut names the operation itself, so it allows every method that does not
            // contradict it.
            (Some(operation), &Method::GET | &Method::POST) => Some(operation),
            (Some(Operation::Find), &Method::HEAD) => Some(Operation::Find),
            (
                Some(operation @ (Operation::Update | Operation::Put)),
                &Method::PUT | &Method::PATCH,
            ) => Some(operation),
            (Some(Operation::Destroy), &Method::DELETE) => Some(Operation::Destroy),
            (Some(_), _) => None,
            (None, &Method::GET | &Method::HEAD) => Some(Operation::Find),
            (None, &Method::POST) if self.id.is_none() => Some(Operation::Create),
            (None, &Method::PUT) => Some(Operation::Put),
            (None, &Method::PATCH) => Some(Operation::Update),
            (None, &Method::DELETE) => Some(Operation::Destroy),
            (None, _) => None,
        }
    }

    /// Returns the methods that the route allows, as the value of the `Allow` header.
    pub(crate) fn allowed_methods(&self) -> &'static str {
        if let (None, Some(nested)) = (self.operation, &self.nested) {
            return nested.allowed_methods();
        }
        match (self.operation, &self.id) {
            (Some(Operation::Find), _) => "GET,HEAD,POST,OPTIONS",
            (Some(Operation::Create), _) => "GET,POST,OPTIONS",
            (Some(Operation::Update | Operation::Put), _) => "GET,POST,PUT,PATCH,OPTIONS",
            (Some(Operation::Destroy), _) => "GET,POST,DELETE,OPTIONS",
            (None, None) => "GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS",
            (None, Some(_)) => "GET,HEAD,PUT,PATCH,DELETE,OPTIONS",
        }
    }
}

impl NestedRoute {
    fn operation(&self, method: &Method) -> Option<Operation> {
        match (method, &self.association.link, &self.id) {
            (&Method::GET | &Method::HEAD, ..) => Some(Operation::Find),
            (_, Link::Holds { .. }, _) => None,
            (&Method::POST, _, None) => Some(Operation::Create),
            (&Method::PUT, ..) => Some(Operation::Put),
            (&Method::PATCH, _, Some(_)) => Some(Operation::Update),
            (&Method::DELETE, _, Some(_)) => Some(Operation::Destroy),
            _ => None,
        }
    }

    fn allowed_methods(&self) -> &'static str {
        match (&self.association.link, &self.id) {
            (Link::Holds { .. }, _) => "GET,HEAD,OPTIONS",
            (_, None) => "GET,HEAD,POST,PUT,OPTIONS",
            (_, Some(_)) => "GET,HEAD,PUT,PATCH,DELETE,OPTIONS",
        }
    }
}

/// Returns the path below a prefix, whose case is ignored.
fn strip_path_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let prefix = prefix.trim_end_matches('/');
    let (start, rest) = path.split_at_checked(prefix.len())?;
    (start.eq_ignore_ascii_case(prefix) && rest.starts_with('/')).then_some(rest)
}

/// Returns the decoded segments of a path.
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

    /// Formats a parsed path as `todo 7 Find`, with `-` for parts that the path does not name.
    fn read(router: &Routing, path: &str) -> String {
        match router.read(path) {
            Err(Error::BadUrl) => "bad".to_owned(),
            Err(_) => "nothing".to_owned(),
            Ok(Route { resource, id: of, operation, nested }) => {
                let id = |id: Option<Id>| id.map_or("-".to_owned(), |id| id.to_string());
                let nested = nested.map(|it| format!(" {} {}", it.attribute, id(it.id)));
                let operation = operation.map_or("-".to_owned(), |it| format!("{it:?}"));
                format!("{resource} {} {operation}{}", id(of), nested.unwrap_or_default())
            }
        }
    }

    #[test]
    fn path_names_a_resource_and_optionally_a_record() {
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
    fn shortcut_names_the_operation_if_it_is_enabled() {
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
        for path in ["/api/todo/7", "/todo/7", "/apiv1/todo", "/api", "/api/v1"] {
            assert_eq!(read(&router, path), "nothing", "{path}");
        }
    }

    #[test]
    fn undeclared_resource_has_no_route_if_the_models_refuse_it() {
        let mut models = Models::default();
        models.undeclared(Undeclared::Refuse);
        let router = Routing::new(Paths::default(), Arc::new(models));
        assert_eq!(read(&router, "/todo"), "nothing");
    }

    #[test]
    fn method_decides_the_operation_if_the_path_names_none() {
        let router = router("", "", Shortcuts::Write);
        let operation = |method: Method, path| router.read(path).unwrap().operation(&method);
        assert_eq!(operation(Method::POST, "/todo"), Some(Operation::Create));
        assert_eq!(operation(Method::POST, "/todo/7"), None);
        assert_eq!(operation(Method::HEAD, "/todo/7"), Some(Operation::Find));
        assert_eq!(operation(Method::GET, "/todo/destroy/7"), Some(Operation::Destroy));
        assert_eq!(operation(Method::DELETE, "/todo/destroy/7"), Some(Operation::Destroy));
        assert_eq!(operation(Method::PUT, "/todo/update/7"), Some(Operation::Update));
        assert_eq!(operation(Method::POST, "/todo/find"), Some(Operation::Find));
        assert_eq!(operation(Method::PUT, "/todo/destroy/7"), None);
        assert_eq!(operation(Method::HEAD, "/todo/destroy/7"), None);
        assert_eq!(operation(Method::TRACE, "/todo"), None);
    }
}
