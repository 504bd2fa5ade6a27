//! Pages that list everything of a kind must have a row for each.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use backwire_tests::documentation::page;
use backwire_tests::paths;

use super::text;

/// Adds the error codes in the sources of a folder.
fn collect_codes(folder: &Path, codes: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder is there").path();
        if path.is_dir() && !["tests", "examples"].iter().any(|it| path.ends_with(it)) {
            collect_codes(&path, codes);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let source = fs::read_to_string(&path).expect("sources are text");
            let words = source.split("\"E_").skip(1).map(|rest| {
                let end = rest.find(|it: char| !it.is_ascii_uppercase() && it != '_');
                format!("E_{}", &rest[..end.unwrap_or(rest.len())])
            });
            // Tests have one-letter codes of their own.
            codes.extend(words.filter(|code| code.len() > 3));
        }
    }
}

#[test]
fn every_error_code_of_the_server_is_listed() {
    let page = page("reference/error-codes.md");
    let mut codes = BTreeSet::new();
    collect_codes(&paths::root().join("server"), &mut codes);
    assert!(codes.len() > 30, "{codes:?}");
    for code in codes {
        let is_listed =
            page.contains(&format!("\n| `{code}`")) || page.contains(&format!("\n| `{code}: …`"));
        assert!(is_listed, "error-codes.md has no row for {code}");
    }
}

#[test]
fn every_option_of_the_command_line_is_listed() {
    let help = Command::new(paths::server()).args(["serve", "--help"]).output();
    let help = text(&help.expect("the program of the server can be run").stdout);
    let page = page("reference/configuration.md");
    let options = help.lines().filter_map(|line| line.trim().strip_prefix("--"));
    let options: Vec<_> = options.filter_map(|option| option.split(' ').next()).collect();
    assert!(options.len() > 15, "{options:?}");
    for option in options {
        assert!(page.contains(&format!("\n| `--{option}` |")), "no row for --{option}");
    }
}

/// Returns the names of the members of an interface of the types of the runtime.
fn members(types: &str, interface: &str) -> Vec<String> {
    let (_, rest) = types.split_once(&format!("interface {interface} {{\n")).expect(interface);
    let (body, _) = rest.split_once("\n}").expect(interface);
    let declarations = body.lines().filter_map(|line| line.strip_prefix("  "));
    let declarations = declarations.filter(|line| !line.starts_with([' ', '*', '/']));
    let names = declarations.map(|line| line.trim_start_matches("readonly "));
    names
        .map(|name| name.split(['?', '(', ':', '<']).next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn every_member_of_the_javascript_api_is_listed() {
    let page = page("reference/javascript-api.md");
    let types = paths::root().join("js-shim/src/index.d.ts");
    let types = fs::read_to_string(types).expect("the types are there");
    let first_cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let first_cells: Vec<_> = first_cells.collect();
    let has = |name: &str| {
        let [value, call] = [format!("`{name}`"), format!("`{name}(")];
        first_cells.iter().any(|cell| cell.contains(&value) || cell.contains(&call))
    };
    for interface in ["Backwire", "InstallOptions", "Events"] {
        let members = members(&types, interface);
        assert!(members.len() > 4, "{members:?}");
        for name in members {
            // The methods of `socket` have rows of their own.
            assert!(has(&name) || name == "socket", "{interface} has {name}");
        }
    }
    for name in members(&types, "Deliveries") {
        assert!(has(&format!("socket.{name}")), "{name}");
    }
}
