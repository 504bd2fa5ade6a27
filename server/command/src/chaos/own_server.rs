//! A server that the run starts in a temporary folder, and its Redis if it has one. The run can
//! kill and pause both.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::Engine;
use super::own_redis::OwnRedis;
use super::process;

/// The numbers of a `flakeid`, datacenter and worker, are less than this.
const NODE_NUMBERS: usize = 32;

/// A process of the program `backwire`. When this is dropped, the process ends and its folder is
/// removed.
pub(super) struct OwnServer {
    folder: PathBuf,
    engine: String,
    child: Option<Child>,
    /// The number that the next start uses in Redis: its `flakeid`.
    number: usize,
    redis: Option<OwnRedis>,
    keeps_folder: bool,
}

impl OwnServer {
    /// Creates the folder of a server, and starts its Redis. This does not start the server.
    pub(super) fn new(run: &str, engine: &Engine, sites: &str) -> io::Result<Self> {
        let folder = env::temp_dir().join(run);
        fs::create_dir(&folder)?;
        let engine_name = match engine {
            Engine::Sqlite => format!("sqlite:{}", folder.join("backwire.db").display()),
            Engine::Memory => "memory".to_owned(),
            Engine::Redis { address, .. } => address.clone(),
            Engine::OwnRedis => String::new(),
        };
        // From now on, the folder is removed if something fails.
        let mut server = Self {
            folder,
            engine: engine_name,
            child: None,
            number: rand::random_range(0..NODE_NUMBERS * NODE_NUMBERS),
            redis: None,
            keeps_folder: false,
        };
        fs::write(server.folder.join("sites.yml"), sites)?;
        if let Engine::OwnRedis = engine {
            let redis = OwnRedis::new(&server.folder.join("redis"))?;
            server.engine = redis.url();
            server.redis = Some(redis);
        }
        Ok(server)
    }

    /// Returns the Redis of the server, if the run has started one.
    pub(super) fn redis(&mut self) -> Option<&mut OwnRedis> {
        self.redis.as_mut()
    }

    /// Keeps the folder with the database and the log of the server, and returns its path.
    pub(super) fn keep_folder(&mut self) -> &std::path::Path {
        self.keeps_folder = true;
        &self.folder
    }

    /// Starts the server, waits until it listens, and returns its host and port.
    pub(super) fn start(&mut self) -> io::Result<String> {
        self.write_configuration()?;
        let log = File::options().create(true).append(true).open(self.folder.join("server.log"))?;
        let mut command = process::command(env::current_exe()?)?;
        command.args(["serve", "--host", "127.0.0.1", "--port", "0", "--engine", &self.engine]);
        command.args(["--config", "config.yml", "--sites", "sites.yml"]);
        for (name, _) in env::vars_os() {
            let is_setting = name.to_string_lossy().starts_with("BACKWIRE_");
            if is_setting || name == "PORT" || name == "NODE_ENV" {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.folder).stdin(Stdio::null());
        // The server must not get the Ctrl+C that is meant for the run.
        command.process_group(0);
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = process::start(command)?;
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

    /// Writes the configuration. Redis reserves the number of a killed server for ten seconds, so
    /// each start uses another number.
    fn write_configuration(&mut self) -> io::Result<()> {
        // Everything has to stay in the log, so that it can be checked.
        let mut yaml = "log_count: 100000000\nundeclared: allow\n".to_owned();
        if self.engine.starts_with("redis") {
            let (datacenter, worker) =
                (self.number / NODE_NUMBERS % NODE_NUMBERS, self.number % NODE_NUMBERS);
            yaml += &format!("flakeid: {{datacenter: {datacenter}, worker: {worker}}}\n");
            self.number += 1;
        }
        fs::write(self.folder.join("config.yml"), yaml)
    }

    /// Kills the server, as a crash does.
    pub(super) fn kill(&mut self) {
        process::kill(&mut self.child);
    }

    /// Pauses the process, or lets it continue.
    pub(super) fn pause(&self, is_paused: bool) {
        process::pause(self.child.as_ref(), is_paused);
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
        // Redis ends before its folder is removed.
        drop(self.redis.take());
        if !self.keeps_folder {
            // If this fails, the folder remains among the temporary files.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
