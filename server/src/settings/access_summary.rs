//! A summary of who has access to what. `check` prints it, and the server logs it when it starts.

use backwire_records::model::Undeclared;

use super::Settings;
use crate::sites::Table;

impl Settings {
    /// Returns the groups of callers, and what each has access to.
    pub(crate) fn access_summary(&self) -> Vec<String> {
        let mut all = self.summary_of_resources();
        if self.api_key.is_some() {
            all.push("POST /publish: callers with the api_key".to_owned());
        }
        all.push(format!("origins with full access: {}", self.origins_with_full_access()));
        all.extend(summary_of_sites(&self.sites.all()));
        all
    }

    /// Returns a warning if other machines can reach the server and it answers to any host name: a
    /// page whose host name resolves to the server has the access of the server's own pages.
    pub fn host_warning(&self) -> Option<String> {
        let is_open = self.host.is_unspecified() && self.allowed_hosts.is_empty();
        is_open.then(|| {
            let host = self.host;
            format!(
                "host {host} without allowed_hosts: pages of any site can reach this server by a name of \
                 their own (DNS rebinding); name the hosts of this server in allowed_hosts"
            )
        })
    }

    /// Returns the names of the sites, separated by commas.
    pub(crate) fn site_names(&self) -> String {
        self.sites.all().keys().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn summary_of_resources(&self) -> Vec<String> {
        let (mut open, mut ruled) = (Vec::new(), Vec::new());
        for (resource, model) in self.models.declared() {
            let names = if model.access.is_open() { &mut open } else { &mut ruled };
            names.push(resource.as_str());
        }
        open.sort_unstable();
        ruled.sort_unstable();
        if self.models.others() == Undeclared::Allow {
            open.push("every undeclared one");
        }
        if open.is_empty() && ruled.is_empty() {
            return vec!["resources: none".to_owned()];
        }
        let kinds = [
            ("resources that everyone may read and write", open),
            ("resources with access rules", ruled),
        ];
        let kinds = kinds.into_iter().filter(|(_, names)| !names.is_empty());
        kinds.map(|(kind, names)| format!("{kind}: {}", names.join(", "))).collect()
    }

    fn origins_with_full_access(&self) -> String {
        let mut pages = vec!["this host".to_owned(), "localhost".to_owned()];
        pages.extend(self.origins.iter().map(|origin| match origin.is_any() {
            true => "any origin, without cookies".to_owned(),
            false => origin.to_string(),
        }));
        pages.join(", ")
    }
}

fn summary_of_sites(sites: &Table) -> impl Iterator<Item = String> {
    sites.iter().map(|(name, site)| {
        let origins = site.origins();
        let origins: Vec<_> = origins.iter().map(ToString::to_string).collect();
        let pages = if origins.is_empty() { "none".to_owned() } else { origins.join(", ") };
        format!("origins with access to site {name}: {pages}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::Site;
    use backwire_records::access::Access;
    use backwire_records::model::Model;

    #[test]
    fn host_warning_is_given_if_other_machines_reach_the_server_by_any_name() {
        assert_eq!(Settings::default().host_warning(), None);
        let mut settings = Settings::push_service();
        assert!(
            settings.host_warning().unwrap().starts_with("host 0.0.0.0 without allowed_hosts:")
        );
        settings.host = "::".parse().unwrap();
        assert!(settings.host_warning().is_some());
        settings.allowed_hosts = vec!["push.example".parse().unwrap()];
        assert_eq!(settings.host_warning(), None);
    }

    #[test]
    fn default_gives_full_access_to_pages_of_this_host() {
        assert_eq!(
            Settings::default().access_summary(),
            [
                "resources that everyone may read and write: every undeclared one",
                "origins with full access: this host, localhost",
            ]
        );
    }

    #[test]
    fn push_service_has_no_resources_and_gives_access_to_pages_of_its_sites() {
        let settings = Settings::push_service();
        let url = "https://newsite.com/rooms".parse().unwrap();
        let site = Site::new(url, "54321".parse().unwrap());
        let other = Site { origins: Some(vec!["*".parse().unwrap()]), ..site.clone() };
        let none = Site { origins: Some(Vec::new()), ..site.clone() };
        let sites = [("newsite", site), ("other", other), ("shut", none)];
        settings.sites.replace(sites.map(|(name, site)| (name.parse().unwrap(), site)));
        assert_eq!(
            settings.access_summary(),
            [
                "resources: none",
                "origins with full access: this host, localhost",
                "origins with access to site newsite: https://newsite.com",
                "origins with access to site other: '*'",
                "origins with access to site shut: none",
            ]
        );
        assert_eq!(settings.site_names(), "newsite, other, shut");
        assert!(!settings.access_summary().concat().contains("54321"));
    }

    #[test]
    fn resources_with_access_rules_are_listed_apart() {
        let mut settings = Settings { api_key: "54321".parse().ok(), ..Settings::push_service() };
        let access = Access { owner: Some("userId".to_owned()), ..Access::default() };
        let ruled = Model { access, ..Model::default() };
        settings.models.declare("note", ruled).unwrap();
        settings.models.declare("todo", Model::default()).unwrap();
        settings.origins = vec!["*".parse().unwrap(), "https://app.example".parse().unwrap()];
        assert_eq!(
            settings.access_summary(),
            [
                "resources that everyone may read and write: todo",
                "resources with access rules: note",
                "POST /publish: callers with the api_key",
                "origins with full access: this host, localhost, any origin, without cookies, \
                 https://app.example",
            ]
        );
    }
}
