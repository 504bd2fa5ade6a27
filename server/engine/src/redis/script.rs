//! The scripts that run in Redis. Each is one step there: no other command runs in between.
//!
//! Invariant: a script writes nothing before it has made all its checks, or what it has written is
//! complete. Redis refuses a script that needs memory at its first write and not later. If the
//! first write only removes something, the script is marked as one that needs memory, and Redis
//! does not begin it without.

use std::sync::LazyLock;

use redis::{Cmd, Script, ToRedisArgs, cmd};

/// A script in Lua.
#[derive(Debug)]
pub(super) struct LuaScript {
    code: String,
    hash: String,
}

impl LuaScript {
    fn new(flags: &str, code: &str) -> Self {
        let code = format!("{flags}{}{code}", include_str!("scripts/prelude.lua"));
        let hash = Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }

    /// Returns the command that makes Redis know the script.
    pub(super) fn load(&self) -> Cmd {
        let mut command = cmd("SCRIPT");
        command.arg("LOAD").arg(&self.code);
        command
    }
}

/// The first line of a script with flags.
macro_rules! flags {
    // It is run although the memory is full.
    (allow_oom) => {
        "#!lua flags=allow-oom\n"
    };
    // It is not begun if the memory is full.
    (deny_oom) => {
        "#!lua\n"
    };
}

/// The scripts, by their names.
macro_rules! scripts {
    ($($name:ident $($flags:ident)? $($file:literal)+,)*) => {
        $(pub(super) static $name: LazyLock<LuaScript> = LazyLock::new(|| {
            LuaScript::new(concat!($(flags!($flags),)? ""), concat!($(include_str!($file)),+))
        });)*

        /// Returns all scripts: each connection loads them.
        pub(super) fn all() -> Vec<&'static LuaScript> {
            vec![$(&*$name,)*]
        }
    };
}

scripts! {
    EPOCH "scripts/epoch.lua",
    COMMIT "scripts/commit.lua",
    COMMIT_WITHOUT_ROOM allow_oom "scripts/commit.lua",
    STATE "scripts/state.lua",
    INDEX "scripts/index.lua",
    PAGE "scripts/page.lua",
    CHANGED "scripts/changed.lua",
    RECORD "scripts/record.lua",
    SINCE "scripts/since.lua",
    REPEAT "scripts/repeat.lua",
    HEADS "scripts/heads.lua",
    KEYS "scripts/keys.lua",
    CASCADES "scripts/cascades.lua",
    QUEUE "scripts/queue_data.lua" "scripts/queue.lua",
    QUEUE_WITHOUT_ROOM allow_oom "scripts/queue_data.lua" "scripts/queue.lua",
    SESSION deny_oom "scripts/session.lua",
    SESSION_WITHOUT_ROOM allow_oom "scripts/session.lua",
    LOAD_SESSION "scripts/load_session.lua",
    MIGRATE "scripts/queue_data.lua" "scripts/migrate.lua",
    ANNOUNCE "scripts/announce.lua",
    TAIL "scripts/tail.lua",
    ASK "scripts/ask.lua",
    ANSWER "scripts/answer.lua",
    LEASE allow_oom "scripts/lease.lua",
}

/// A script and its arguments.
#[derive(Debug, Clone)]
pub(super) struct Call {
    script: &'static LuaScript,
    args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn new(script: &'static LazyLock<LuaScript>) -> Self {
        Self { script: LazyLock::force(script), args: Vec::new() }
    }

    /// Runs another script with the same arguments.
    pub(super) fn by(self, script: &'static LazyLock<LuaScript>) -> Self {
        Self { script: LazyLock::force(script), ..self }
    }

    /// Adds an argument.
    pub(super) fn add(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        arg.write_redis_args(&mut self.args);
        self
    }

    /// Adds an argument.
    pub(super) fn with(mut self, arg: impl ToRedisArgs) -> Self {
        self.add(arg);
        self
    }

    /// Adds a number, or an empty text for none.
    pub(super) fn add_optional(&mut self, number: Option<impl ToString>) -> &mut Self {
        self.add(number.map_or_else(String::new, |number| number.to_string()))
    }

    /// Adds the arguments of another call.
    pub(super) fn append(&mut self, other: Self) {
        self.args.extend(other.args);
    }

    /// Returns the bytes of the arguments.
    pub(super) fn bytes(&self) -> usize {
        self.args.iter().map(Vec::len).sum()
    }

    /// Returns the command for the keys with this prefix.
    pub(super) fn command(&self, prefix: &str) -> Cmd {
        self.run_by("EVALSHA", prefix)
    }

    /// The same for a script that writes nothing.
    pub(super) fn read_only_command(&self, prefix: &str) -> Cmd {
        self.run_by("EVALSHA_RO", prefix)
    }

    fn run_by(&self, name: &str, prefix: &str) -> Cmd {
        let mut command = cmd(name);
        command.arg(&self.script.hash).arg(1).arg(prefix);
        for arg in &self.args {
            command.arg(&arg[..]);
        }
        command
    }
}
