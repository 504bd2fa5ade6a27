//! The tutorial, step by step, with the files that it shows.

use std::collections::BTreeMap;
use std::process::Command;

use backwire_tests::documentation::{Block, blocks, page};
use backwire_tests::process::Process;
use backwire_tests::{Browser, Page, Server, Site};
use reqwest::{Client, StatusCode};
use serde_json::json;

const APP: &str = "public/app.js";
const CONFIG: &str = "config/config.yml";

/// The files of the tutorial's folder after some of its steps.
#[derive(Default)]
struct Files(BTreeMap<String, String>);

impl Files {
    /// Returns the files after each of the five steps.
    fn of_each_step() -> [Self; 5] {
        let tutorial = page("tutorial/make-a-backbone-app-live.md");
        let (tutorial, _) = tutorial.split_once("\n## What you have").expect("it has an end");
        let mut files = Self::default();
        let steps = tutorial.split("\n## ").skip(1).map(|step| {
            blocks(step).iter().for_each(|block| files.take(block));
            Self(files.0.clone())
        });
        let steps: Vec<_> = steps.collect();
        steps.try_into().ok().expect("the tutorial has five steps")
    }

    /// Carries out the instruction in the line before a block.
    fn take(&mut self, block: &Block) {
        let lead = block.lead.strip_suffix(':').unwrap_or_default();
        let names = |at: &str| lead.split(at).nth(1)?.split('`').nth(1).map(str::to_owned);
        if let Some(file) = names("Save this as") {
            self.0.insert(file, block.code.clone());
        } else if let Some(file) = names("Add this to the end of") {
            self.0.get_mut(&file).expect("it was saved before").push_str(&block.code);
        } else if let Some(line) = names("replace the line") {
            let file = self.0.get_mut(APP).expect("it was saved before");
            assert!(file.contains(&line), "{line}");
            *file = file.replacen(&format!("{line}\n"), &block.code, 1);
        } else {
            let is_for_a_shell = block.language == "sh";
            assert!(is_for_a_shell, "this block has no instruction before it:\n{}", block.code);
        }
    }

    fn get(&self, file: &str) -> &str {
        self.0.get(file).unwrap_or_else(|| panic!("the tutorial does not save {file}"))
    }

    /// Writes the files that are served.
    fn publish(&self, site: &Site) {
        for (file, text) in &self.0 {
            if let Some(name) = file.strip_prefix("public/") {
                site.write(name, text);
            }
        }
    }
}

async fn open(browser: &Browser, server: &Server) -> Page {
    browser.open(&format!("{}/index.html", server.origin())).await
}

/// Loads the page again, after its files have changed. A browser would keep a file that changes
/// twice within a second.
async fn reload(page: &Page, server: &Server) {
    let refresh = "Promise.all(['index.html', 'app.js'].map(it => fetch(it, {cache: 'reload'}))).then(() => true)";
    assert_eq!(page.answer(refresh).await, true);
    page.go(&format!("{}/index.html", server.origin())).await;
}

async fn add(page: &Page, title: &str) {
    page.run(&format!("$('#title').val('{title}'); $('#new').submit()")).await;
}

/// Waits until the list has these todos, with an `x` after those that are done.
async fn shows(page: &Page, todos: &str) {
    let list = "$('#todos li').get().map(it => $(it).text().replace('Delete', '').trim() + \
                ($(it).find('input').prop('checked') ? 'x' : '')).join()";
    page.until(&format!("{list} === '{todos}'"), format!("the list to be {todos:?}")).await;
}

async fn says(page: &Page, message: &str) {
    let is_shown = format!("$('#message').text() === '{message}'");
    page.until(&is_shown, format!("the message {message:?}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn app_of_the_tutorial_becomes_live_and_works_offline() {
    let [rest, live, offline, ..] = Files::of_each_step();
    let browser = Browser::start();
    let site = Site::new();
    rest.publish(&site);
    let mut server = Server::with_pages(site.path());
    let (a, b) = tokio::join!(open(&browser, &server), open(&browser, &server));
    ordinary(&server, &a, &b).await;
    live.publish(&site);
    changes_arrive(&server, &a, &b).await;
    offline.publish(&site);
    writes_wait(&mut server, &a, &b).await;
}

async fn ordinary(server: &Server, a: &Page, b: &Page) {
    add(a, "Buy milk").await;
    a.until("todos.length === 1 && !todos.at(0).isNew()", "the todo to be saved").await;
    let todos = reqwest::get(format!("{}/todo", server.origin())).await.expect("it answers");
    assert_eq!(todos.json::<serde_json::Value>().await.expect("it is JSON")[0]["id"], 1);
    reload(b, server).await;
    shows(b, "Buy milk").await;
    assert_eq!(b.value("typeof Backwire").await, "undefined");
}

async fn changes_arrive(server: &Server, a: &Page, b: &Page) {
    for page in [a, b] {
        reload(page, server).await;
        shows(page, "Buy milk").await;
        page.until("Backwire.status.state === 'online'", "a connection").await;
    }
    add(a, "Eggs").await;
    shows(b, "Buy milk,Eggs").await;
    b.run("$('#todos li:last input').click()").await;
    shows(a, "Buy milk,Eggsx").await;
    a.run("$('#todos li:last button').click()").await;
    shows(b, "Buy milk").await;
    let done = Client::new().patch(format!("{}/todo/1", server.origin()));
    done.json(&json!({ "done": true })).send().await.expect("it answers");
    shows(a, "Buy milkx").await;
}

async fn writes_wait(server: &mut Server, a: &Page, b: &Page) {
    for page in [a, b] {
        reload(page, server).await;
        says(page, "online").await;
        shows(page, "Buy milkx").await;
    }
    server.kill();
    add(a, "Eggs").await;
    shows(a, "Buy milkx,Eggs").await;
    says(a, "offline, 1 unsent").await;
    server.start_again();
    says(a, "online").await;
    shows(b, "Buy milkx,Eggs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn app_of_the_tutorial_shows_why_a_todo_is_refused() {
    let [_, _, _, files, _] = Files::of_each_step();
    let site = Site::new();
    files.publish(&site);
    let server = Server::declared(site.path(), files.get(CONFIG));
    let page = open(&Browser::start(), &server).await;
    says(&page, "online").await;
    add(&page, "").await;
    says(&page, "title is required").await;
    shows(&page, "").await;
    add(&page, "Milk").await;
    shows(&page, "Milk").await;
}

/// The back end runs as shown, except for its port and the page's origin.
#[tokio::test(flavor = "multi_thread")]
async fn users_of_the_tutorial_have_lists_of_their_own() {
    let [.., files] = Files::of_each_step();
    let (browser, site) = (Browser::start(), Site::new());
    let folder = tempfile::TempDir::new().expect("there is room for a few files");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path
    };
    let report = ".listen(0, function () { console.log(`port ${this.address().port}`); })";
    let back_end = files.get("auth.mjs").replace("'http://localhost:1337'", "'*'");
    let back_end = write("auth.mjs", back_end.replace(".listen(4000)", report));
    let port = |line: &str| line.strip_prefix("port ")?.parse::<u16>().ok();
    let (_back_end, port) = Process::start(Command::new("node").arg(back_end), port);
    let here = |text: &str| text.replace("localhost:4000", &format!("localhost:{port}"));
    let sites = write("sites.yml", here(files.get("config/sites.yml")));
    files.publish(&site);
    site.write("app.js", &here(files.get(APP)));
    let sites = ["--sites".to_owned(), sites.display().to_string()];
    let server = Server::with_arguments(site.path(), files.get(CONFIG), &sites);
    let (ann, bob) = tokio::join!(open(&browser, &server), open(&browser, &server));
    let tablet = open(&browser, &server).await;
    sign_in(&ann, "ann", "wrong").await;
    says(&ann, "Name or password is wrong").await;
    sign_in(&ann, "ann", "apple").await;
    sign_in(&tablet, "ann", "apple").await;
    sign_in(&bob, "bob", "berry").await;
    for page in [&ann, &tablet, &bob] {
        says(page, "online").await;
    }
    add(&bob, "Beer").await;
    add(&ann, "Milk").await;
    shows(&tablet, "Milk").await;
    shows(&ann, "Milk").await;
    shows(&bob, "Beer").await;
    let answer = reqwest::get(format!("{}/todo", server.origin())).await.expect("it answers");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(answer.text().await.expect("it is text").contains("E_UNAUTHORIZED"));
    // Its token is no longer valid.
    ann.run("sessionStorage.user = JSON.stringify({name: 'ann', token: 'old'})").await;
    ann.go(&format!("{}/index.html", server.origin())).await;
    ann.until("$('#login').is(':visible') && !sessionStorage.user", "the form to sign in").await;
    sign_in(&ann, "ann", "apple").await;
    shows(&ann, "Milk").await;
}

async fn sign_in(page: &Page, name: &str, password: &str) {
    let fill = format!(
        "$('[name=name]').val('{name}'); $('[name=password]').val('{password}'); \
         document.querySelector('#login').requestSubmit()"
    );
    page.run(&fill).await;
}
