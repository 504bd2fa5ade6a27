//! The paths of the programs that a story needs.
//!
//! `cargo xtask test` sets them in environment variables. Under plain `cargo test` they are the
//! outputs of `cargo xtask build`. If one is missing, the story fails and names the command that
//! builds it.

use std::env;
use std::path::{Path, PathBuf};

/// Returns the path of the server's program.
pub fn server() -> PathBuf {
    found("BACKWIRE_BIN", || target().join("release/backwire"))
}

/// Returns the folder of the demo as it is served, with Backbone and the libraries that it needs.
pub fn demo() -> PathBuf {
    found("BACKWIRE_DEMO", || target().join("demo"))
}

/// Returns the folder of the npm packages that pages load.
pub fn node_modules() -> PathBuf {
    found("NODE_PATH", || root().join("node_modules"))
}

/// Returns the root folder of the repository.
pub fn root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = crate_folder.parent();
    root.expect("this crate is a folder of the workspace").into()
}

/// Returns the target folder of cargo.
pub fn target() -> PathBuf {
    let program = env::current_exe().expect("the system knows which program this is");
    // target / profile / deps / program
    let target = program.ancestors().nth(3);
    target.expect("cargo put this program there").into()
}

fn found(variable: &str, usual: impl FnOnce() -> PathBuf) -> PathBuf {
    let place = env::var_os(variable).map_or_else(usual, PathBuf::from);
    assert!(
        place.exists(),
        "{} is missing: run `cargo xtask build` first (or `cargo xtask test --only e2e`, which does \
         that by itself)",
        place.display()
    );
    place
}
