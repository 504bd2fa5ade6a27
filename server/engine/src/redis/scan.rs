//! Keys: their names in commands, and scans of them.

use redis::{Cmd, cmd};

use super::connection::Commands;
use crate::Error;

/// Keys in one step of a scan.
const SCANNED_KEYS: usize = 1_000;

/// Returns all keys that begin with a text, each once and in their order.
pub(super) async fn scan(commands: &Commands, begin: &str) -> Result<Vec<Vec<u8>>, Error> {
    scan_pattern(commands, &format!("{}*", escape(begin))).await
}

/// Returns all keys that match a pattern, each once and in their order.
pub(super) async fn scan_pattern(
    commands: &Commands,
    pattern: &str,
) -> Result<Vec<Vec<u8>>, Error> {
    let (mut keys, mut cursor) = (Vec::new(), 0_u64);
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED_KEYS);
        let scanned = commands.query::<(u64, Vec<Vec<u8>>)>([scan]).await?.pop();
        let (next, some) = scanned.unwrap_or_default();
        keys.extend(some);
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    // Redis may return a key twice.
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// Escapes the characters that have a meaning in a pattern.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if "*?[]\\".contains(char) {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

/// Returns a command for a key.
pub(super) fn command(name: &str, prefix: &str, key: &str) -> Cmd {
    let mut command = cmd(name);
    command.arg(format!("{prefix}:{key}"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_is_no_pattern() {
        assert_eq!(escape("back[*]?:{main}"), "back\\[\\*\\]\\?:{main}");
    }
}
