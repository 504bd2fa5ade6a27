//! A server that the run starts itself, in a temporary folder. It can be killed and stopped.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A server of this program. It ends, and its folder is removed, when this is dropped.
pub(super) struct OwnServer {
    folder: PathBuf,
    engine: String,
    child: Option<Child>,
    keeps_folder: bool,
}

impl OwnServer {
    /// Creates the folder of a server, which is not started yet.
    pub(super) fn new(run: &str, engine: Option<&str>, sites: &str) -> io::Result<Self> {
        let folder = env::temp_dir().join(run);
        fs::create_dir(&folder)?;
        let file = format!("sqlite:{}", folder.join("backwire.db").display());
        let engine = match engine {
            None | Some("sqlite") => file,
            Some(engine) => engine.to_owned(),
        };
        // Everything has to stay in the log, so that it can be checked.
        fs::write(folder.join("config.yml"), "log_count: 100000000\nundeclared: allow\n")?;
        fs::write(folder.join("sites.yml"), sites)?;
        Ok(Self { folder, engine, child: None, keeps_folder: false })
    }

    pub(super) fn engine(&self) -> &str {
        &self.engine
    }

    /// Keeps the folder with the database and the log of the server.
    pub(super) fn keep_folder(&mut self) -> &std::path::Path {
        self.keeps_folder = true;
        &self.folder
    }

    /// Starts the server, and returns its host and port when it listens.
    pub(super) fn start(&mut self) -> io::Result<String> {
        let log = File::options().create(true).append(true).open(self.folder.join("server.log"))?;
        let mut command = Command::new(env::current_exe()?);
        command.args(["serve", "--host", "127.0.0.1", "--port", "0", "--engine", &self.engine]);
        command.args(["--config", "config.yml", "--sites", "sites.yml"]);
        for (name, _) in env::vars_os() {
            let is_setting = name.to_string_lossy().starts_with("BACKWIRE_");
            if is_setting || name == "PORT" || name == "NODE_ENV" {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.folder).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        self.child = Some(child);
        let address = line.trim().strip_prefix("listening on http://").map(str::to_owned);
        address.ok_or_else(|| {
            let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
            io::Error::other(format!("the server did not start:\n{log}"))
        })
    }

    /// Kills the server, as a crash does.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Pauses the process, or lets it continue.
    pub(super) fn pause(&self, is_paused: bool) {
        let id = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(id, if is_paused { Signal::STOP } else { Signal::CONT });
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
        if !self.keeps_folder {
            // The folder is a temporary one anyway.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
