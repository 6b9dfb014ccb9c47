//! What Redis does as one step: scripts in Lua, which a connection loads when it begins.

use redis::{Cmd, Connection, RedisResult};

/// A script by its hash, under which a Redis keeps it.
#[derive(Debug)]
pub(crate) struct Scripts {
    hashes: [String; TEXTS.len()],
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Script {
    Publish,
    Open,
    Join,
    Leave,
    Sync,
    Beat,
    Living,
    Server,
}

/// In the order of [`Script`]. A Redis that is full still runs those with `allow-oom`, which store no messages: nodes stay
/// alive then, and members present.
const TEXTS: [&str; 8] = [
    concat!(include_str!("scripts/epoch.lua"), include_str!("scripts/publish.lua")),
    concat!(
        "#!lua flags=allow-oom\n",
        include_str!("scripts/epoch.lua"),
        include_str!("scripts/open.lua")
    ),
    include_str!("scripts/join.lua"),
    include_str!("scripts/leave.lua"),
    include_str!("scripts/sync.lua"),
    include_str!("scripts/beat.lua"),
    include_str!("scripts/living.lua"),
    include_str!("scripts/server.lua"),
];

impl Scripts {
    /// Loads all of them. A Redis that has forgotten one fails the command, and so the connection, which then begins anew.
    pub(crate) fn load(connection: &mut Connection) -> RedisResult<Self> {
        let mut hashes = [const { String::new() }; TEXTS.len()];
        for (hash, text) in hashes.iter_mut().zip(TEXTS) {
            *hash = redis::cmd("SCRIPT").arg("LOAD").arg(text).query(connection)?;
        }
        Ok(Self { hashes })
    }

    /// The command that runs one, to which arguments are to be added.
    pub(crate) fn call(&self, script: Script, keys: &[&str]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hashes[script as usize]).arg(keys.len()).arg(keys);
        command
    }
}
