//! The checks that a change must pass, the cheapest first. Only `setup` comes later: it waits for
//! downloads, while the release server is built in the background.
//!
//! Each check is a step of `cargo xtask test` and can be run alone. It builds its own
//! prerequisites, which costs nothing if they are there, and lists its requirements. The outcome of
//! a step has the number of passed tests; a step that is not a set of tests counts as one.
//!
//! Compiled code is shared: all steps of cargo use one target folder, and the server of the tests
//! in the browser is the release build, as in the demo.

use std::fs::{self, File};
use std::thread;

use anyhow::{Context, Result};

use crate::command::{cargo, program, read, run, run_counted, run_tests};
use crate::disk_space::BuildOutput::{self, FreshRust, Release, Simulation, Tests, Wasm};
use crate::native_crates::{self, NATIVE, Runner};
use crate::outcome::Outcome;
use crate::output::print_line;
use crate::requirements::{
    BROWSER, CLIPPY, FIREFOX, GZIP, KILL, LANGUAGES, REDIS, RUSTFMT, Requirement, WASM_TARGET,
};
use crate::server::Server;
use crate::size::Size;
use crate::stamp::files_under;
use crate::workspace::{Profile, WASM_TRIPLE, Workspace};
use crate::{
    build, comments, demo, demo_site, dependencies, fresh_rust, imports, links, npm, package,
    scripts, simulate, small_disk, wire_constants,
};

/// The step that makes the scripts that the server embeds. After it, the build of the release
/// server begins in the background.
pub(crate) const EMBEDDED_STEP: &str = "bundle";

const WASM: [&str; 4] = ["--package", "backwire-client-wasm", "--target", WASM_TRIPLE];
/// The variable with the server's address. The client's tests read it when they are compiled.
const TEST_SERVER: &str = "BACKWIRE_TEST_SERVER";

/// One check.
pub(crate) struct Step {
    /// Its name, also for `--only`.
    pub(crate) name: &'static str,
    /// A description of the check.
    pub(crate) about: &'static str,
    /// Its requirements.
    pub(crate) requirements: &'static [&'static [Requirement]],
    /// The parts of the target folder that it builds.
    pub(crate) builds: &'static [BuildOutput],
    /// Runs the check.
    pub(crate) run: fn(&Workspace) -> Result<Outcome>,
}

/// All of them, in order.
pub(crate) const STEPS: [Step; 16] = [
    Step {
        name: "format",
        about: "rustfmt has nothing to change, and comments are wrapped",
        requirements: &[&[RUSTFMT]],
        builds: &[],
        run: format,
    },
    Step {
        name: "links",
        about: "links of Markdown files lead to files and headings",
        requirements: &[],
        builds: &[],
        run: links::check,
    },
    Step {
        name: "dependencies",
        about: "licenses, bans and sources of all crates are as deny.toml has them",
        requirements: &[],
        builds: &[],
        run: dependencies::check,
    },
    Step {
        name: "imports",
        about: "crates import what CONTRIBUTING.md has, and files do so in no cycle",
        requirements: &[],
        builds: &[],
        run: imports::check,
    },
    Step {
        name: "bundle",
        about: "wire.js is up to date, and no script is larger than allowed",
        requirements: &[build::RUNTIME, &[GZIP]],
        builds: &[Wasm],
        run: bundle,
    },
    Step {
        name: "js",
        about: "JS tests with real Backbone",
        requirements: &[build::RUNTIME],
        builds: &[Wasm],
        run: js,
    },
    Step {
        name: "types",
        about: "a TypeScript program can use index.d.ts",
        requirements: &[&[Requirement::Node, Requirement::NpmPackages]],
        builds: &[],
        run: types,
    },
    Step {
        name: "setup",
        about: "missing parts of Rust are installed",
        requirements: demo::REQUIREMENTS,
        builds: &[FreshRust],
        run: fresh_rust::check,
    },
    Step {
        name: "lint",
        about: "clippy and rustdoc have nothing to say",
        requirements: &[build::SERVER, &[CLIPPY, WASM_TARGET]],
        builds: &[Tests],
        run: lint,
    },
    Step {
        name: "native",
        about: "Rust tests and the examples in the docs",
        requirements: &[build::SERVER, &[CLIPPY, GZIP, KILL, REDIS]],
        builds: &[Tests],
        run: native,
    },
    Step {
        name: "simulation",
        about: "2,000 seeds of clients and a server in a simulation break no guarantee, and planted bugs are found",
        requirements: simulate::REQUIREMENTS,
        builds: &[Simulation],
        run: simulate::check,
    },
    Step {
        name: "server",
        about: "the release server is made, with backwire.js in it",
        requirements: &[build::RUNTIME, build::SERVER],
        builds: &[Wasm, Release],
        run: server,
    },
    Step {
        name: "chaos",
        about: "100 clients find no broken guarantee while connections fail, and the server and its Redis are killed",
        requirements: &[build::RUNTIME, build::SERVER, &[REDIS]],
        builds: &[Wasm, Release],
        run: chaos,
    },
    Step {
        name: "package",
        about: "the npm package works in projects with Vite, esbuild and require.js",
        requirements: &[build::RUNTIME, build::SERVER, BROWSER],
        builds: &[Wasm, Release],
        run: package,
    },
    Step {
        name: "wasm",
        about: "client tests in Chromium against a real server",
        requirements: &[build::RUNTIME, build::SERVER, BROWSER, &[CLIPPY]],
        builds: &[Wasm, Release, Tests],
        run: wasm,
    },
    Step {
        name: "e2e",
        about: "stories in Chromium and Firefox, also over three servers with Redis, and stock clients",
        requirements: &[
            build::RUNTIME,
            build::SERVER,
            BROWSER,
            LANGUAGES,
            &[CLIPPY, FIREFOX, REDIS],
        ],
        builds: &[Wasm, Release, Tests],
        run: end_to_end,
    },
];

fn format(workspace: &Workspace) -> Result<Outcome> {
    run(&mut cargo(workspace, ["fmt", "--all", "--check"]))
        .context("`cargo fmt --all` puts this right")?;
    comments::check(workspace)
}

fn lint(workspace: &Workspace) -> Result<Outcome> {
    native_crates::build(workspace)?;
    // The client's tests are compiled for one server's address; to lint them none need be there.
    run(cargo(workspace, ["clippy", "--all-targets"])
        .args(WASM)
        .args(["--", "--deny", "warnings"])
        .env(TEST_SERVER, "http://127.0.0.1:0"))?;
    Ok(3.into())
}

fn native(workspace: &Workspace) -> Result<Outcome> {
    let can_mount = small_disk::can_mount();
    let left_out = if can_mount { None } else { Some(small_disk::MODULE) };
    let tests = run_tests(&mut Runner::find(workspace).native(workspace, left_out))?;
    let examples = run_counted(native_crates::cargo(workspace, ["test", "--doc"]).args(NATIVE))?;
    let outcome = Outcome::from(tests + examples);
    Ok(if can_mount { outcome } else { outcome.without(small_disk::NOT_CHECKED) })
}

fn bundle(workspace: &Workspace) -> Result<Outcome> {
    wire_constants::check(workspace)?;
    build::runtime(workspace)?;
    let scripts = scripts::all(workspace)?;
    for script in &scripts {
        let size = Size::of(&script.path(workspace))?;
        print_line(format_args!("{}: {size}", script.name))?;
        size.within(script.budget).with_context(|| script.name.clone())?;
    }
    Ok((1 + scripts.len()).into())
}

fn js(workspace: &Workspace) -> Result<Outcome> {
    wire_constants::check(workspace)?;
    build::runtime(workspace)?;
    let files = files_under(&workspace.shim_tests())?;
    // Named one by one: what a folder means to `node --test` changes with its version.
    let tests = files.iter().filter(|file| file.to_string_lossy().ends_with(".test.js"));
    let names = tests.map(|file| workspace.short(file).to_string());
    let mut node = program(workspace, "node");
    Ok(run_tests(node.args(["--test", "--test-reporter=spec"]).args(names))?.into())
}

fn types(workspace: &Workspace) -> Result<Outcome> {
    run(&mut npm::tool(workspace, "tsc", ["--noEmit", "--project", "js-shim/test"]))?;
    Ok(1.into())
}

fn server(workspace: &Workspace) -> Result<Outcome> {
    build::runtime(workspace)?;
    build::server(workspace, Profile::Release)?;
    Ok(1.into())
}

fn package(workspace: &Workspace) -> Result<Outcome> {
    server(workspace)?;
    package::test(workspace, &workspace.server(Profile::Release))
}

fn wasm(workspace: &Workspace) -> Result<Outcome> {
    server(workspace)?;
    run(native_crates::cargo(workspace, ["build"])
        .args(NATIVE)
        .args(["--bin", "wasm-test-runner"]))?;
    let server = serve(workspace)?;
    let passed = run_tests(
        cargo(workspace, ["test", "--tests"])
            .args(WASM)
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", workspace.wasm_test_runner())
            // Cargo builds the tests anew when it changes: they read it with `env!`.
            .env(TEST_SERVER, server.origin())
            // The runner would take another browser's driver if it saw that first.
            .env("CHROMEDRIVER", "chromedriver")
            // The defaults of 5 and 20 seconds are short for a small machine's first start.
            .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "60")
            .env("WASM_BINDGEN_TEST_TIMEOUT", "180"),
    )?;
    server.stop()?;
    Ok(passed.into())
}

/// Starts a server for the client's tests. Its log is only of interest if they fail.
fn serve(workspace: &Workspace) -> Result<Server> {
    fs::create_dir_all(workspace.scratch())?;
    let log = workspace.scratch().join("server.log");
    print_line(format_args!("the server's log is {}", log.display()))?;
    let mut serve = program(workspace, workspace.server(Profile::Release));
    serve.args(["serve", "--port", "0", "--engine", "memory"]).env("NO_COLOR", "1");
    Server::start(&mut serve, File::create(&log)?)
        .with_context(|| format!("{} says why", log.display()))
}

/// Runs both engines at the same time. The seeds are others each time: the command prints them.
fn chaos(workspace: &Workspace) -> Result<Outcome> {
    server(workspace)?;
    let chaos = |engine| {
        let mut chaos = program(workspace, workspace.server(Profile::Release));
        chaos.args(["chaos", "--clients", "100", "--seconds", "60", "--engine", engine]);
        chaos
    };
    let (mut sqlite, mut redis) = (chaos("sqlite"), chaos("redis"));
    thread::scope(|scope| {
        let redis = scope.spawn(|| read(&mut redis));
        run(&mut sqlite)?;
        print_line(redis.join().expect("nothing panics")?)?;
        Ok(2.into())
    })
}

fn end_to_end(workspace: &Workspace) -> Result<Outcome> {
    server(workspace)?;
    demo_site::assemble(workspace)?;
    let passed = run_tests(
        Runner::find(workspace)
            .end_to_end(workspace)
            .env("BACKWIRE_BIN", workspace.server(Profile::Release))
            .env("BACKWIRE_DEMO", workspace.demo_site())
            .env("NODE_PATH", workspace.node_modules()),
    )?;
    Ok(passed.into())
}
