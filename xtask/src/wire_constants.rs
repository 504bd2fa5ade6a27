//! The constants of the wire for the shim: `js-shim/src/wire.js`, from `backwire_protocol::wire`.
//!
//! `cargo xtask build` writes the file. It is committed, so that the shim can be read and tested
//! without a build, and `cargo xtask test` checks that it is up to date. The minifier leaves out
//! what the shim does not use.

use std::fmt::Display;
use std::fs;

use anyhow::{Context, Result, ensure};
use backwire_protocol::wire::{ChangeVerb, LEDGER_RETENTION, VERSION, event, header, query};

use crate::workspace::Workspace;

/// A heading, and the names and values of the constants below it.
type Section = (&'static str, Vec<(String, String)>);

/// Writes the file, if it is not up to date.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let path = workspace.wire_constants();
    if fs::read_to_string(&path).ok() == Some(script()) {
        return Ok(());
    }
    fs::write(&path, script()).with_context(|| format!("{} cannot be written", path.display()))
}

/// Checks that the file is up to date.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let path = workspace.wire_constants();
    ensure!(
        fs::read_to_string(&path).ok() == Some(script()),
        "{} does not have the constants of protocol/src/wire.rs; run `cargo xtask build`, which \
         writes it",
        workspace.short(&path)
    );
    Ok(())
}

fn script() -> String {
    let mut script = String::from(
        "// The constants of the wire\n// -------------------------\n//\n\
         // `cargo xtask build` writes this file. Its values are those of `protocol/src/wire.rs`\n\
         // and `protocol/src/wire/`.\n",
    );
    for (heading, constants) in sections() {
        script.push_str(&format!("\n// {heading}\n"));
        for (name, value) in constants {
            script.push_str(&format!("export const {name} = {value};\n"));
        }
    }
    script
}

fn sections() -> [Section; 5] {
    [
        ("The verbs of a change.", ChangeVerb::ALL.map(verb).into()),
        (
            "The names of events.",
            vec![
                text("PUSH", event::PUSH),
                text("RESUME", event::RESUME),
                text("UNSUBSCRIBE", event::UNSUBSCRIBE),
                text("DELIVERED", event::DELIVERED),
                text("EXPIRES", event::EXPIRES),
            ],
        ),
        (
            "The names of headers, in lower case. `TRANSPORT_HTTP` is the only value of `TRANSPORT`.",
            vec![
                text("IDEMPOTENCY_KEY", header::IDEMPOTENCY_KEY),
                text("POSITION", header::POSITION),
                text("ROOM", header::ROOM),
                text("RECORD", header::RECORD),
                text("QUERY", header::QUERY),
                text("TRANSPORT", header::TRANSPORT),
                text("TRANSPORT_HTTP", header::TRANSPORT_HTTP),
            ],
        ),
        (
            "The names of properties in the header `QUERY`.",
            vec![
                text("QUERY_KEY", query::KEY),
                text("QUERY_SELECT", query::SELECT),
                text("QUERY_OMIT", query::OMIT),
                text("QUERY_POPULATE", query::POPULATE),
                text("QUERY_UNDECLARED", query::UNDECLARED),
            ],
        ),
        (
            "The version of the protocol, and how long the ledger remembers a write, in milliseconds.",
            vec![
                number("VERSION", VERSION),
                number("LEDGER_RETENTION", LEDGER_RETENTION.as_millis()),
            ],
        ),
    ]
}

fn verb(verb: ChangeVerb) -> (String, String) {
    number(&format!("{verb:?}").to_uppercase(), verb.number())
}

fn text(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), format!("'{value}'"))
}

fn number(name: &str, value: impl Display) -> (String, String) {
    (name.to_owned(), value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_exports_numbers_and_texts() {
        let script = script();
        for line in ["CREATED = 1", "LEFT = 4", "PUSH = 'push'", "LEDGER_RETENTION = 604800000"] {
            assert!(script.contains(&format!("\nexport const {line};\n")), "{line}\n{script}");
        }
    }

    #[test]
    fn every_name_is_exported_once() {
        let sections = sections();
        let mut names: Vec<_> = sections.iter().flat_map(|(_, all)| all).map(|it| &it.0).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
