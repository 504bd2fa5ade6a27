//! The snippets of the documentation: configuration files, requests, commands and scripts.
//!
//! The tutorial and the programs that send messages have stories of their own, and programs in Rust
//! are compiled as doctests of the server.

mod exchanges;
mod guides;
mod lists;

use std::fs;
use std::process::{Command, Output};

use backwire_tests::documentation::{Block, all_pages, blocks, page};
use backwire_tests::{Server, paths};
use tempfile::TempDir;

/// Returns the blocks of a language on all pages, each with the name of its page.
fn snippets(language: &str) -> Vec<(String, Block)> {
    let of_page = |name: String| {
        let found = blocks(&page(&name)).into_iter().filter(|block| block.language == language);
        found.map(|block| (name.clone(), block)).collect::<Vec<_>>()
    };
    all_pages().into_iter().flat_map(of_page).collect()
}

fn folder() -> TempDir {
    TempDir::new().expect("there is room for a few files")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Checks a configuration file, or a file of sites, as `backwire check` does.
fn check(yaml: &str) -> Output {
    let home = folder();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        fs::write(&path, text).expect("the folder is ours");
        path
    };
    let secret = write("secret", "a secret of more than 32 characters\n");
    let secret = secret.to_str().expect("the path is text");
    let words = yaml.split_inclusive(['{', '}', ' ']).map(|word| {
        let is_secret = word.starts_with("/run/");
        if is_secret { format!("{secret}}}") } else { word.to_owned() }
    });
    let yaml: String = words.collect();
    let is_sites = yaml.contains("authUrl");
    let (config, sites) = if is_sites { ("", &*yaml) } else { (&*yaml, "") };
    let mut command = Command::new(paths::server());
    command.arg("check").arg("--config").arg(write("config.yml", config));
    if is_sites {
        command.arg("--sites").arg(write("sites.yml", sites));
    }
    command.env("NEWSITE_KEY", "54321").env_remove("BACKWIRE_ENV").env_remove("NODE_ENV");
    command.output().expect("the program of the server can be run")
}

#[test]
fn every_configuration_is_accepted_without_a_warning() {
    let snippets = snippets("yaml");
    assert!(snippets.len() > 10, "the pages have fewer configurations: {}", snippets.len());
    for (page, Block { code, .. }) in snippets {
        let output = check(&code);
        let problems = text(&output.stderr);
        assert!(output.status.success() && problems.is_empty(), "{page}:\n{code}\n{problems}");
    }
}

#[test]
fn every_script_is_valid() {
    let folder = folder();
    let scripts = snippets("js").into_iter().map(|(page, block)| (page, block.code));
    let in_pages = snippets("html").into_iter().flat_map(|(page, block)| {
        let scripts = block.code.split("<script>").skip(1).map(|rest| {
            let (script, _) = rest.split_once("</script>").expect("the script ends");
            (page.clone(), script.to_owned())
        });
        scripts.collect::<Vec<_>>()
    });
    for (page, script) in scripts.chain(in_pages) {
        let file = folder.path().join("script.mjs");
        fs::write(&file, &script).expect("the folder is ours");
        let output = Command::new("node").arg("--check").arg(&file).output();
        let output = output.expect("Node.js is installed");
        assert!(output.status.success(), "{page}:\n{script}\n{}", text(&output.stderr));
    }
}

/// Runs each curl command that sends a request to this machine, page by page.
#[test]
fn every_curl_command_is_answered() {
    let mut count = 0;
    for name in all_pages() {
        let blocks = blocks(&page(&name));
        let commands = blocks.iter().filter(|block| block.language == "sh");
        let lines = commands.flat_map(|block| block.code.lines());
        let lines: Vec<_> = lines.filter(|line| line.starts_with("curl ")).collect();
        let Some(server) = (!lines.is_empty()).then(Server::start) else { continue };
        let folder = folder();
        fs::create_dir(folder.path().join("src")).expect("the folder is ours");
        for line in lines.iter().filter(|line| line.contains(":1337")) {
            let here = server.address().to_string();
            let line = line.replace("localhost:1337", &here).replace("127.0.0.1:1337", &here);
            let line = line.replacen("curl ", "curl --silent --show-error --fail ", 1);
            let mut shell = Command::new("sh");
            let output = shell.args(["-c", &line]).current_dir(folder.path()).output();
            let output = output.expect("there is a shell");
            assert!(output.status.success(), "{name}: {line}\n{}", text(&output.stderr));
            count += 1;
        }
    }
    assert!(count > 5, "the pages have fewer commands: {count}");
}
