//! The paths of the repository.
//!
//! Every path of the repository that a command touches is named here, so that moving a folder is
//! one edit.

use std::env;
use std::path::{Path, PathBuf};

/// The platform that the client is compiled for.
pub(crate) const WASM_TRIPLE: &str = "wasm32-unknown-unknown";

/// The repository and the folder cargo builds into.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

/// Which of its two ways the server is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build, for development.
    Debug,
    /// Optimised, for users.
    Release,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub(crate) fn find() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask is a folder of the workspace")
            .to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            // Cargo reads it relative to where the user stands, and so must we.
            Some(target) => env::current_dir().unwrap_or_default().join(target),
            None => root.join("target"),
        };
        Self { root, target }
    }

    /// The repository's first folder; every command runs from here.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that cargo builds into.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The client as cargo compiles it in a profile, before other tools change it.
    pub(crate) fn raw_wasm(&self, profile: &str) -> PathBuf {
        self.target.join(WASM_TRIPLE).join(profile).join("backwire_client_wasm.wasm")
    }

    /// The folder for temporary files of the commands.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.target.join("xtask")
    }

    /// The shim's sources.
    pub(crate) fn shim(&self) -> PathBuf {
        self.root.join("js-shim/src")
    }

    /// The constants of the wire for the shim, which are written by us.
    pub(crate) fn wire_constants(&self) -> PathBuf {
        self.shim().join("wire.js")
    }

    /// The JS tests.
    pub(crate) fn shim_tests(&self) -> PathBuf {
        self.root.join("js-shim/test")
    }

    /// The folder of the files for pages.
    pub(crate) fn dist(&self) -> PathBuf {
        self.root.join("js-shim/dist")
    }

    /// The sources of the npm package that are not code.
    pub(crate) fn npm(&self) -> PathBuf {
        self.root.join("js-shim/npm")
    }

    /// The npm package.
    pub(crate) fn package(&self) -> PathBuf {
        self.target.join("package")
    }

    /// The demo as it is written.
    pub(crate) fn demo(&self) -> PathBuf {
        self.root.join("demo")
    }

    /// The demo as it is served: with Backbone and its company beside it.
    pub(crate) fn demo_site(&self) -> PathBuf {
        self.target.join("demo")
    }

    /// The pages of the documentation.
    pub(crate) fn docs(&self) -> PathBuf {
        self.root.join("docs")
    }

    /// The documentation as a site.
    pub(crate) fn site(&self) -> PathBuf {
        self.target.join("docs")
    }

    /// The npm packages.
    pub(crate) fn node_modules(&self) -> PathBuf {
        self.root.join("node_modules")
    }

    /// The server's program.
    pub(crate) fn server(&self, profile: Profile) -> PathBuf {
        self.target.join(profile.folder()).join("backwire")
    }

    /// Another program, as people would run it.
    pub(crate) fn release(&self, name: &str) -> PathBuf {
        self.target.join(Profile::Release.folder()).join(name)
    }

    /// The runner of wasm tests.
    pub(crate) fn wasm_test_runner(&self) -> PathBuf {
        self.target.join(Profile::Debug.folder()).join("wasm-test-runner")
    }

    /// A path as a person in the repository would write it.
    pub(crate) fn short<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}
