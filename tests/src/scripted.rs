//! Stories that are written in JavaScript and run in the page.
//!
//! A file in `tests/pages` defines stories with `story(name, options, ...steps)` of `harness.js`.
//! Each story has its own server; all stories of a file share one browser. Each step is one load of
//! the page, so a story with two steps reloads the page once. A page cannot do some things itself,
//! such as cut the line. For these a step sends a command, and this module carries it out.
//!
//! `BACKWIRE_STORY=text` runs only the stories whose names contain the text. `BACKWIRE_SEED=7` runs
//! random programs with that seed only, and `BACKWIRE_RUNS=10` runs so many with new seeds. A story
//! may take half a minute.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::page::Page;
use crate::paths;
use crate::proxy::{Proxy, WebSockets};
use crate::server::{Server, Site, place};

/// A story and its options, as the page defines them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Story {
    name: String,
    /// The number of page loads.
    steps: usize,
    /// The text of the server's configuration file.
    #[serde(default)]
    config: String,
    /// More arguments of the server.
    #[serde(default)]
    args: Vec<String>,
    /// Paths in `node_modules` of the scripts before Backwire's.
    libs: Vec<String>,
    /// HTML before the scripts.
    #[serde(default)]
    head: String,
    /// The script tag of Backwire for each step.
    tags: Vec<String>,
    /// HTML after the tag.
    #[serde(default)]
    tail: String,
    /// The sites of the push service. `PAGES` stands for the origin of a server with `rooms.json`.
    #[serde(default)]
    sites: Option<String>,
    /// The host name of a separate server for the page.
    #[serde(default)]
    host: Option<String>,
    /// The treatment of WebSockets by the line from the beginning.
    #[serde(default)]
    websockets: WebSockets,
}

/// The operations of a page in a browser that stories need.
#[expect(async_fn_in_trait, reason = "the stories of one browser run one after another")]
pub trait ScriptedPage {
    /// Loads a page, and returns when it has loaded.
    async fn go(&self, url: &str);
    /// Returns to the page before this one.
    async fn back(&self);
    /// Returns the current value of a JavaScript expression.
    async fn value(&self, expression: &str) -> Value;
    /// Runs a JavaScript statement on the page.
    async fn run(&self, statement: &str);
    /// Returns the value of a promise.
    async fn answer(&self, promise: &str) -> Value;
    /// Returns the console lines since the last call.
    async fn console(&self) -> Vec<String>;
}

impl ScriptedPage for Page {
    async fn go(&self, url: &str) {
        Self::go(self, url).await;
    }

    async fn back(&self) {
        Self::back(self).await;
    }

    async fn value(&self, expression: &str) -> Value {
        Self::value(self, expression).await
    }

    async fn run(&self, statement: &str) {
        Self::run(self, statement).await;
    }

    async fn answer(&self, promise: &str) -> Value {
        Self::answer(self, promise).await
    }

    async fn console(&self) -> Vec<String> {
        Self::console(self).await
    }
}

/// Runs all stories of a file in Chromium. Panics with the names of failed stories.
pub async fn play(file: &str) {
    let page = Browser::start().open("about:blank").await;
    play_in(&page, file).await;
}

/// Runs all stories of a file in this browser. Panics with the names of failed stories.
pub async fn play_in(page: &impl ScriptedPage, file: &str) {
    let wanted = env::var("BACKWIRE_STORY").unwrap_or_default();
    let site = site_with(file);
    let pages = Server::with_pages(site.path());
    let stories = read_stories(page, &pages, file).await;
    assert!(!stories.is_empty(), "tests/pages/{file}.js has no story");
    let stories: Vec<_> = stories.into_iter().filter(|it| it.name.contains(&wanted)).collect();
    let mut failures = Vec::new();
    for story in &stories {
        match play_one(page, &site, &pages, file, story).await {
            Ok(report) => println!("ok {}{report}", story.name),
            Err(reason) => failures.push(format!("{}: {reason}", story.name)),
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} stories failed:\n- {}",
        failures.len(),
        stories.len(),
        failures.join("\n- ")
    );
}

/// Creates a folder with the file, the harness and the npm packages.
fn site_with(file: &str) -> Site {
    let site = Site::new();
    let pages = paths::root().join("tests/pages");
    const SHARED: [&str; 5] =
        ["harness.js", "libraries.js", "random.js", "default.mjs", "named.mjs"];
    for name in SHARED.into_iter().chain([&*format!("{file}.js")]) {
        let script = fs::read_to_string(pages.join(name)).expect("the script is in tests/pages");
        site.write(name, &script);
    }
    bundle(&pages.join("bundle.entry.js"), &site.path().join("bundle.js"));
    place_packages(&site.path().join("npm"));
    site.write("rooms.json", r#"["user_1"]"#);
    let scripts = tags(["underscore/underscore-umd.js", "backbone/backbone.js"]);
    site.write("index.html", &html(file, "", &scripts, ""));
    site
}

/// Places the packages that pages load in a new folder.
fn place_packages(folder: &Path) {
    const OF_TOOLS: [&str; 2] = ["binaryen", "typescript"];
    fs::create_dir(folder).expect("the folder is ours");
    for package in fs::read_dir(paths::node_modules()).expect("npm has installed the packages") {
        let package = package.expect("npm has installed the packages");
        let name = package.file_name().into_string().expect("names of packages are ASCII");
        let is_of_pages = !name.starts_with(['.', '@']) && !OF_TOOLS.contains(&&*name);
        if is_of_pages && package.path().is_dir() {
            place(&package.path(), &folder.join(name));
        }
    }
}

/// Bundles an application and its packages, except for modules that the server has.
fn bundle(entry: &Path, output: &Path) {
    let mut esbuild = Command::new(paths::node_modules().join(".bin/esbuild"));
    esbuild.arg(entry).args([
        "--bundle",
        "--format=esm",
        "--external:/backwire.esm.js",
        "--log-level=warning",
    ]);
    esbuild.arg(format!("--outfile={}", output.display()));
    let status = esbuild.env("NODE_PATH", paths::node_modules()).status();
    assert!(status.is_ok_and(|status| status.success()), "esbuild could not make {output:?}");
}

/// Reads the stories of the file.
async fn read_stories(page: &impl ScriptedPage, pages: &Server, file: &str) -> Vec<Story> {
    page.go(&format!("{}/index.html", pages.origin())).await;
    let stories = serde_json::from_value(page.value("stories.list()").await);
    stories.unwrap_or_else(|error| panic!("{file}.js: {error}"))
}

/// Returns the script tags of npm packages.
fn tags<'a>(paths: impl IntoIterator<Item = &'a str>) -> String {
    paths.into_iter().map(|path| format!("<script src=\"/npm/{path}\"></script>")).collect()
}

fn html(file: &str, head: &str, scripts: &str, tail: &str) -> String {
    format!(
        "<!doctype html><meta charset=\"utf-8\"><link rel=\"icon\" href=\"data:,\">{head}<body>\
         <script src=\"/harness.js\"></script><script src=\"/libraries.js\"></script>\
         <script src=\"/random.js\"></script>\
         {scripts}{tail}<script src=\"/{file}.js\"></script>"
    )
}

/// Loads the page once for each step. Returns the report of the story.
async fn play_one(
    page: &impl ScriptedPage,
    site: &Site,
    pages: &Server,
    file: &str,
    story: &Story,
) -> Result<String, String> {
    let mut scene = Scene::set(site, pages, story).await;
    let mut memory = Value::Null;
    for step in 0..story.steps {
        let tag = &story.tags[step.min(story.tags.len() - 1)];
        let tag = tag.replace("SERVER", &scene.server.origin());
        let libs = tags(story.libs.iter().map(String::as_str));
        let name = format!("{}-{step}.html", story.name);
        let head = story.head.replace("SERVER", &scene.server.origin());
        site.write(&name, &html(file, &head, &(libs + tag.as_str()), &story.tail));
        page.go(&format!("{}/{name}", scene.origin())).await;
        let server = scene.server.origin();
        let start = json!({"name": story.name, "step": step, "memory": memory, "server": server,
            "seed": number("BACKWIRE_SEED"), "runs": number("BACKWIRE_RUNS")});
        memory = play_step(page, &mut scene, &start).await?;
    }
    Ok(memory.as_str().map(|text| format!(" ({text})")).unwrap_or_default())
}

/// Returns the number in an environment variable, if it is set.
fn number(variable: &str) -> Option<u32> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// Runs one step, and carries out its commands.
async fn play_step(
    page: &impl ScriptedPage,
    scene: &mut Scene,
    start: &Value,
) -> Result<Value, String> {
    page.run(&format!("stories.start({start})")).await;
    let mut reply = Value::Null;
    loop {
        let turn = page.answer(&format!("stories.next({reply})")).await;
        match turn["command"].as_str() {
            None if turn["error"].is_null() => return Ok(turn["result"].clone()),
            None => return Err(turn["error"].as_str().unwrap_or("unknown").to_owned()),
            Some("console") => reply = json!(page.console().await),
            Some("leave") => reply = leave(page, scene).await,
            Some(command) => reply = scene.command(command),
        }
    }
}

/// Leaves the page for another one, makes a record there, and returns by the back button.
async fn leave(page: &impl ScriptedPage, scene: &Scene) -> Value {
    page.go(&format!("{}/rooms.json", scene.origin())).await;
    let options = r#"{method: "POST", headers: {"content-type": "application/json"}, body: "{}"}"#;
    let left = format!("fetch('/left', {options}).then(response => response.json())");
    let record = page.answer(&left).await;
    page.back().await;
    record
}

/// The server of a story and the line to it.
struct Scene {
    server: Server,
    line: Proxy,
    /// The separate server of the page and its host name, if there is one.
    elsewhere: Option<(Server, String)>,
}

impl Scene {
    async fn set(site: &Site, pages: &Server, story: &Story) -> Self {
        let mut arguments = story.args.clone();
        let mut config = story.config.clone();
        if let Some(sites) = &story.sites {
            if config.is_empty() {
                // With sites, undeclared resources are off by default, and the harness uses one.
                config = "undeclared: allow\n".to_owned();
            }
            site.write("sites.yml", &sites.replace("PAGES", &pages.origin()));
            let file = site.path().join("sites.yml");
            arguments.extend(["--sites".to_owned(), file.display().to_string()]);
        }
        let server = Server::with_arguments(site.path(), &config, &arguments);
        let line = Proxy::to(server.address()).await;
        line.set_websockets(story.websockets);
        let elsewhere = story.host.as_ref().map(|host| {
            let args = ["--allowed-host".to_owned(), host.clone()];
            (Server::with_arguments(site.path(), "", &args), host.clone())
        });
        Self { server, line, elsewhere }
    }

    fn origin(&self) -> String {
        match &self.elsewhere {
            Some((server, host)) => format!("http://{host}:{}", server.address().port()),
            None => self.line.origin(),
        }
    }

    fn command(&mut self, command: &str) -> Value {
        match command {
            "cut" => self.line.cut(),
            "mend" => self.line.repair(),
            "freeze" => self.line.freeze(),
            "deafen" => self.line.hold_responses(),
            "allow" => self.line.set_websockets(WebSockets::Allow),
            "refuse" => self.line.set_websockets(WebSockets::Refuse),
            "drop" => self.line.set_websockets(WebSockets::Drop),
            "hang" => self.line.set_websockets(WebSockets::Hang),
            "kill" => self.server.kill(),
            "start" => self.server.start_again(),
            "log" => return json!(self.server.log()),
            other => panic!("no command is called {other}"),
        }
        Value::Null
    }
}
