//! The server's program, with its pages and its database.
//!
//! It is the very program that people run. Where it listens it chooses itself, and keeps to that when
//! it is started again.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::places;
use crate::process::Process;

/// A server and what it stores.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    pages: PathBuf,
    arguments: Vec<String>,
    /// Where the database lives, for as long as we do.
    home: TempDir,
}

/// A folder of pages that a story writes, with Backbone and its company in `vendor/`.
#[derive(Debug)]
pub struct Site(TempDir);

impl Server {
    /// Serves the demo from an empty database.
    pub fn start() -> Self {
        Self::with_pages(&places::demo())
    }

    /// Serves other pages from an empty database.
    pub fn with_pages(pages: &Path) -> Self {
        Self::declared(pages, "")
    }

    /// Serves one page, `index.html`, which is there as long as its folder is kept.
    pub fn with_page(html: &str) -> (Self, Site) {
        let site = Site::new();
        site.write("index.html", html);
        (Self::with_pages(site.path()), site)
    }

    /// Serves pages with resources declared as a configuration file does.
    pub fn declared(pages: &Path, config: &str) -> Self {
        Self::with_arguments(pages, config, &[])
    }

    /// Serves pages with a configuration file and more arguments on the command line.
    pub fn with_arguments(pages: &Path, config: &str, arguments: &[String]) -> Self {
        let home = TempDir::new().expect("there is room for a database");
        fs::write(home.path().join(CONFIG), config).expect("the folder is ours");
        let (process, port) = serve(0, home.path(), pages, arguments);
        let address = (Ipv4Addr::LOCALHOST, port).into();
        Self { process, address, pages: pages.into(), arguments: arguments.to_vec(), home }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address for clients: `http://127.0.0.1:port`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it in the middle of whatever it is doing.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it with the database it had, where it was.
    pub fn start_again(&mut self) {
        let port = self.address.port();
        (self.process, _) = serve(port, self.home.path(), &self.pages, &self.arguments);
    }

    /// Copies its database to a file with this name, while it runs.
    pub fn back_up(&self, name: &str) {
        self.run("backup", name);
    }

    /// Replaces its database by such a copy. It has to be killed before.
    pub fn restore(&self, name: &str) {
        self.run("restore", name);
    }

    fn run(&self, command: &str, name: &str) {
        let engine = format!("sqlite:{}", database(self.home.path()).display());
        let mut process = Command::new(places::server());
        process.arg(command).arg(self.home.path().join(name)).args(["--engine", &engine]);
        let output = process.output().expect("the program of the server can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns the lines that the server has printed.
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }
}

impl Site {
    /// A folder without pages yet.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("there is room for a few pages");
        let vendor = places::demo().join("vendor");
        place(&vendor, &folder.path().join("vendor"));
        Self(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a page, also while it is being served.
    pub fn write(&self, name: &str, html: &str) {
        fs::write(self.path().join(name), html).expect("the folder is ours");
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// The configuration file, beside the database.
const CONFIG: &str = "config.yml";

fn serve(port: u16, home: &Path, pages: &Path, arguments: &[String]) -> (Process, u16) {
    let mut command = Command::new(places::server());
    command
        .args(["serve", "--port", &port.to_string()])
        .args(["--engine", &format!("sqlite:{}", database(home).display())])
        .arg("--config")
        .arg(home.join(CONFIG))
        // Should we be killed before we can stop it.
        .args(["--open-for", "600"])
        .arg("--static")
        .arg(pages)
        .args(arguments);
    Process::start(&mut command, port_in)
}

fn database(home: &Path) -> PathBuf {
    home.join("backwire.db")
}

/// The port in `listening on http://localhost:1337`.
fn port_in(line: &str) -> Option<u16> {
    let url = line.strip_prefix("listening on ")?;
    url.rsplit_once(':')?.1.parse().ok()
}

/// Places the files of a folder in a new one. The server serves nothing that a symbolic link outside of its
/// folder leads to.
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
