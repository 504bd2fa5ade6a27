//! The requirements that commands list.

use super::program::Program;
use super::rust::Part;
use super::{node, rust};
use crate::npm;
use crate::workspace::Workspace;

/// A program or package that a command needs on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// A part of Rust that rustup adds to the toolchain.
    Rust(Part),
    /// A nightly toolchain beside the project's own.
    NightlyRust,
    /// Node.js and npm, in a version that the tools support.
    Node,
    /// The packages of `package-lock.json`.
    NpmPackages,
    /// A program of the system.
    Program(Program),
}

/// A requirement that is not met, and why.
pub(super) struct Missing {
    pub(super) requirement: Requirement,
    pub(super) problem: String,
}

/// Rust's standard library for WebAssembly.
pub(crate) const WASM_TARGET: Requirement = Requirement::Rust(Part::WasmTarget);
/// The formatter.
pub(crate) const RUSTFMT: Requirement = Requirement::Rust(Part::Rustfmt);
/// The linter.
pub(crate) const CLIPPY: Requirement = Requirement::Rust(Part::Clippy);

/// The C compiler. SQLite, jemalloc and ring are built from their sources.
pub(crate) const CC: Requirement =
    Requirement::Program(Program::new("cc", BUILD_TOOLS).or_chosen_by("CC"));
/// The C++ compiler. libFuzzer is built from its sources.
pub(crate) const CXX: Requirement =
    Requirement::Program(Program::new("c++", BUILD_TOOLS).or_chosen_by("CXX"));
/// make. jemalloc is built with it.
pub(crate) const MAKE: Requirement = program("make", BUILD_TOOLS);
/// gzip. It measures how much a page downloads.
pub(crate) const GZIP: Requirement = program("gzip", "gzip");
/// kill. Tests of the server's command line send signals with it.
pub(crate) const KILL: Requirement =
    Requirement::Program(Program::new("kill", "procps").probed_with("-l"));
/// Redis. The tests of its engine start it, and the benchmark compares the server with lists in it.
pub(crate) const REDIS: Requirement = program("redis-server", "redis-server");
/// The browser of the tests, and its driver.
pub(crate) const BROWSER: &[Requirement] =
    &[program("chromium", "chromium"), program("chromedriver", "chromium-driver")];
/// A second browser, for pages with the script tag.
pub(crate) const FIREFOX: Requirement = program("firefox-esr", "firefox-esr");

/// Languages in which the documentation shows how a message is sent.
pub(crate) const LANGUAGES: &[Requirement] = &[
    program("python3", "python3"),
    program("php", "php-cli"),
    program("ruby", "ruby"),
    program("curl", "curl"),
];

const BUILD_TOOLS: &str = "build-essential";

const fn program(name: &'static str, package: &'static str) -> Requirement {
    Requirement::Program(Program::new(name, package))
}

impl Requirement {
    /// Returns why the requirement is not met, or `None` if it is.
    pub(super) fn problem(self, workspace: &Workspace) -> Option<String> {
        match self {
            Self::Rust(part) => part.problem(workspace),
            Self::NightlyRust => rust::nightly_problem(workspace),
            Self::Node => node::problem(workspace),
            Self::NpmPackages => npm::problem(workspace),
            Self::Program(program) => program.problem(workspace),
        }
    }
}
