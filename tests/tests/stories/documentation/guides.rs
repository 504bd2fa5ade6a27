//! Guides, with the commands and scripts that they show.

use std::fs;
use std::process::Command;

use backwire_tests::documentation::{blocks, page};
use backwire_tests::process::Process;
use backwire_tests::{Browser, Server, Site, paths};

use super::{folder, text};

#[tokio::test(flavor = "multi_thread")]
async fn guide_to_unsent_state_shows_what_is_not_saved() {
    let guide = page("how-to/show-connection-and-unsent-state.md");
    let scripts = blocks(&guide).into_iter().filter(|block| block.language == "js");
    let scripts: String = scripts.map(|block| block.code).collect();
    let html = format!(
        r#"<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><p id="connection"></p><ul></ul>
        <script src="vendor/jquery.min.js"></script>
        <script src="vendor/underscore-min.js"></script>
        <script src="vendor/backbone-min.js"></script>
        <script src="/backwire.js"></script>
        <script>
          const todos = new (Backbone.Collection.extend({{url: '/todo'}}))();
          todos.on('add', todo => $('ul').append(`<li data-todo="${{todo.cid}}">`));
          {scripts}
          todos.fetch();
        </script>"#
    );
    let site = Site::new();
    site.write("index.html", &html);
    let mut server = Server::with_pages(site.path());
    let page = Browser::start().open(&format!("{}/index.html", server.origin())).await;
    page.until("Backwire.status.state === 'online'", "a connection").await;
    assert_eq!(page.value("$('#connection').text()").await, "");
    server.kill();
    page.run("todos.create({title: 'Milk'})").await;
    assert_eq!(page.value("$('li.pending').length").await, 1);
    let text = "You are offline. 1 changes are not saved yet.";
    page.until(&format!("$('#connection').text() === '{text}'"), format!("the text {text:?}"))
        .await;
    page.until("$('li.waiting').length === 1", "the mark of a change that waits").await;
    assert_eq!(page.value("Backwire.pending().map(it => it.method).join()").await, "post");
    server.start_again();
    page.until("$('#connection').text() === ''", "the write to be sent").await;
    page.until("$('li.waiting').length === 0", "no change to wait").await;
    page.until("$('li.pending').length === 0", "the mark to be gone").await;
    assert_eq!(
        page.value("Object.keys(todos.at(0).attributes).includes('isPending')").await,
        false
    );
}

/// The commands run as shown, with other file names.
#[test]
fn commands_of_the_guide_to_backups_work() {
    let home = folder();
    fs::create_dir(home.path().join("backups")).expect("the folder is ours");
    fs::write(home.path().join("config.yml"), "port: 0\n").expect("the folder is ours");
    let page = page("how-to/back-up-and-restore.md");
    let blocks = blocks(&page);
    let commands = blocks.iter().filter(|block| block.language == "sh");
    let lines = commands.flat_map(|block| block.code.lines());
    let lines: Vec<_> = lines.filter(|line| line.starts_with("backwire ")).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let run = |line: &str| {
        let line = line.replace("/etc/backwire/", "").replace("/var/backups/", "backups/");
        let line = line.replacen("backwire", "\"$BACKWIRE\"", 1);
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", &line]).current_dir(home.path());
        let output = output.env("BACKWIRE", paths::server()).output().expect("there is a shell");
        assert!(output.status.success(), "{line}\n{}", text(&output.stderr));
    };
    let serve = || {
        let mut command = Command::new(paths::server());
        command.args(["serve", "--config", "config.yml"]).current_dir(home.path());
        Process::start(&mut command, |line| line.starts_with("listening on").then_some(()))
    };
    let (server, ()) = serve();
    for line in lines.iter().filter(|line| line.starts_with("backwire backup")) {
        run(line);
    }
    drop(server);
    for line in lines.iter().filter(|line| line.starts_with("backwire restore")) {
        run(line);
    }
    serve();
}

#[tokio::test(flavor = "multi_thread")]
async fn page_of_the_readme_is_live() {
    let readme = page("../README.md");
    let html = blocks(&readme).into_iter().find(|block| block.language == "html");
    let mut html = html.expect("the README shows a page").code;
    for (shown, here) in [
        ("\"underscore.js\"", "\"vendor/underscore-min.js\""),
        ("\"backbone.js\"", "\"vendor/backbone-min.js\""),
        ("http://localhost:1337/backwire.js", "/backwire.js"),
    ] {
        assert!(html.contains(shown), "{shown}");
        html = html.replace(shown, here);
    }
    let site = Site::new();
    site.write("index.html", &html);
    let server = Server::with_pages(site.path());
    let url = format!("{}/index.html", server.origin());
    let browser = Browser::start();
    let first = browser.open(&url).await;
    first.until("todos.length === 1 && !todos.at(0).isNew()", "its todo to be saved").await;
    let _second = browser.open(&url).await;
    first.until("todos.length === 2", "the todo of the other page").await;
}
