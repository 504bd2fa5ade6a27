//! The server's program, with its pages and its database.
//!
//! This is the program that users run. It chooses a port at its first start, and uses the same port
//! when it is started again.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::paths;
use crate::process::Process;

/// A server and its database.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    engine: String,
    pages: PathBuf,
    arguments: Vec<String>,
    /// The folder of the database, which is deleted when this is dropped.
    home: TempDir,
}

/// A folder of pages that a story writes, with Backbone and the libraries that it needs in
/// `vendor/`.
#[derive(Debug)]
pub struct Site(TempDir);

impl Server {
    /// Serves the demo from an empty database.
    pub fn start() -> Self {
        Self::with_pages(&paths::demo())
    }

    /// Serves other pages from an empty database.
    pub fn with_pages(pages: &Path) -> Self {
        Self::declared(pages, "")
    }

    /// Serves one page, `index.html`, until its folder is dropped.
    pub fn with_page(html: &str) -> (Self, Site) {
        let site = Site::new();
        site.write("index.html", html);
        (Self::with_pages(site.path()), site)
    }

    /// Serves pages with the resources of a configuration file.
    pub fn declared(pages: &Path, config: &str) -> Self {
        Self::with_arguments(pages, config, &[])
    }

    /// Serves pages with a configuration file and more arguments on the command line.
    pub fn with_arguments(pages: &Path, config: &str, arguments: &[String]) -> Self {
        let home = TempDir::new().expect("there is room for a database");
        let engine = sqlite(home.path());
        Self::start_in(home, engine, pages, config, arguments)
    }

    /// Serves the demo with the data that servers share in a Redis. Each has its own number.
    pub fn sharing(redis: &str, number: u8) -> Self {
        let home = TempDir::new().expect("there is room for a file");
        let config = format!("flakeid: {{worker: {number}}}\n");
        Self::start_in(home, redis.to_owned(), &paths::demo(), &config, &[])
    }

    fn start_in(
        home: TempDir,
        engine: String,
        pages: &Path,
        config: &str,
        arguments: &[String],
    ) -> Self {
        fs::write(home.path().join(CONFIG), config).expect("the folder is ours");
        let (process, port) = serve(0, home.path(), &engine, pages, arguments);
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let (pages, arguments) = (pages.into(), arguments.to_vec());
        Self { process, address, engine, pages, arguments, home }
    }

    /// Returns the address of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address for clients: `http://127.0.0.1:port`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the server again with its database, at the same address.
    pub fn start_again(&mut self) {
        let port = self.address.port();
        let home = self.home.path();
        (self.process, _) = serve(port, home, &self.engine, &self.pages, &self.arguments);
    }

    /// Copies the database to a file with this name, while the server runs.
    pub fn back_up(&self, name: &str) {
        self.run("backup", name);
    }

    /// Replaces the database by such a copy. The server must be killed before.
    pub fn restore(&self, name: &str) {
        self.run("restore", name);
    }

    fn run(&self, command: &str, name: &str) {
        let mut process = Command::new(paths::server());
        process.arg(command).arg(self.home.path().join(name)).args(["--engine", &self.engine]);
        let output = process.output().expect("the program of the server can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns the lines that the server has printed.
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }
}

impl Site {
    /// Creates a folder without pages.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("there is room for a few pages");
        let vendor = paths::demo().join("vendor");
        place(&vendor, &folder.path().join("vendor"));
        Self(folder)
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a page, also while the folder is served.
    pub fn write(&self, name: &str, html: &str) {
        fs::write(self.path().join(name), html).expect("the folder is ours");
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// The configuration file, next to the database.
const CONFIG: &str = "config.yml";

fn serve(
    port: u16,
    home: &Path,
    engine: &str,
    pages: &Path,
    arguments: &[String],
) -> (Process, u16) {
    let mut command = Command::new(paths::server());
    command
        .args(["serve", "--port", &port.to_string()])
        .args(["--engine", engine])
        .arg("--config")
        .arg(home.join(CONFIG))
        // The server also stops by itself, in case the test is killed.
        .args(["--open-for", "600"])
        .arg("--static")
        .arg(pages)
        .args(arguments);
    Process::start(&mut command, port_in)
}

/// Returns the engine of a database in this folder.
fn sqlite(home: &Path) -> String {
    format!("sqlite:{}", home.join("backwire.db").display())
}

/// Returns the port in `listening on http://localhost:1337`.
fn port_in(line: &str) -> Option<u16> {
    let url = line.strip_prefix("listening on ")?;
    url.rsplit_once(':')?.1.parse().ok()
}

/// Copies or links the files of a folder to a new one, because the server does not serve symbolic
/// links out of its folder.
pub(crate) fn place(from: &Path, to: &Path) {
    fs::create_dir(to).expect("the folder is ours");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("the folder is there");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            place(&from, &to);
        } else if fs::hard_link(&from, &to).is_err() {
            // The folders may be on different disks.
            fs::copy(&from, &to).expect("there is room for a file");
        }
    }
}
