//! Why a site cannot be added.

/// Why a site cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSite {
    /// The name cannot be that of a site.
    #[error("{0}")]
    Name(String),
    /// A setting has a value that it does not allow. It has the name of `sites.yml`.
    #[error("{site}.{setting} is not {expected}")]
    Setting {
        /// The site.
        site: String,
        /// The setting.
        setting: &'static str,
        /// The allowed values.
        expected: &'static str,
    },
    /// Two sites have resources. Two people of two sites may have the same id, and access rules
    /// could not distinguish them.
    #[error("{0} and {1} both have `resources`: they are those of one site")]
    Resources(String, String),
}

impl InvalidSite {
    /// Returns the code for programs, which does not change.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "E_SITE_NAME",
            Self::Setting { .. } => "E_SITE_SETTING",
            Self::Resources(..) => "E_SITE_RESOURCES",
        }
    }
}
