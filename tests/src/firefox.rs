//! Firefox, over WebDriver BiDi. It runs the stories that are written in JavaScript.

use std::collections::VecDeque;
use std::process::Command;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::process::Process;
use crate::scripted::ScriptedPage;

/// Settings of the profile: no requests to other hosts, and the names of the stories' pages.
const PREFERENCES: [(&str, &str); 10] = [
    ("network.dns.localDomains", "\"app.example\""),
    ("app.update.auto", "false"),
    ("browser.shell.checkDefaultBrowser", "false"),
    ("browser.startup.homepage_override.mstone", "\"ignore\""),
    ("datareporting.policy.dataSubmissionEnabled", "false"),
    ("extensions.update.enabled", "false"),
    ("network.captive-portal-service.enabled", "false"),
    ("network.connectivity-service.enabled", "false"),
    ("services.settings.server", "\"data:,\""),
    ("toolkit.telemetry.enabled", "false"),
];

/// A page in its own Firefox, which ends when this is dropped.
pub struct FirefoxPage {
    // The browser is dropped before its profile.
    _browser: Process,
    _profile: TempDir,
    context: String,
    connection: Mutex<Connection>,
}

struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: u64,
    /// Lines of the page's console.
    console: VecDeque<String>,
}

impl FirefoxPage {
    /// Starts Firefox with an empty profile.
    pub async fn open() -> Self {
        let profile = TempDir::new().expect("there is room for a profile");
        let line = |(name, value): &(&str, &str)| format!("user_pref(\"{name}\", {value});\n");
        let preferences: String = PREFERENCES.iter().map(line).collect();
        std::fs::write(profile.path().join("user.js"), preferences).expect("the folder is ours");
        let mut firefox = Command::new("firefox-esr");
        firefox.args(["--headless", "--no-remote", "--remote-debugging-port", "0", "--profile"]);
        firefox.arg(profile.path()).env("HOME", profile.path());
        let (browser, address) = Process::start(&mut firefox, address_in);
        let (socket, _) = connect_async(format!("{address}/session"))
            .await
            .unwrap_or_else(|error| panic!("Firefox takes no commands: {error}"));
        let mut connection = Connection { socket, last_id: 0, console: VecDeque::new() };
        connection.command("session.new", json!({"capabilities": {}})).await;
        let events = json!({"events": ["log.entryAdded"]});
        connection.command("session.subscribe", events).await;
        let tree = connection.command("browsingContext.getTree", json!({})).await;
        let context = tree["contexts"][0]["context"].as_str().expect("it has a tab").to_owned();
        Self { _browser: browser, _profile: profile, context, connection: Mutex::new(connection) }
    }

    async fn command(&self, method: &str, parameters: Value) -> Value {
        self.connection.lock().await.command(method, parameters).await
    }

    /// Returns the value of a promise or of an expression.
    async fn evaluate(&self, expression: &str) -> Value {
        // JSON is the only form in which BiDi returns nested values as they are.
        let function = format!(
            "async () => JSON.stringify(await ({expression}), (key, value) => value ?? null)"
        );
        let parameters = json!({
            "functionDeclaration": function,
            "awaitPromise": true,
            "target": {"context": self.context}
        });
        let answer = self.command("script.callFunction", parameters).await;
        let Some(text) = answer["result"]["value"].as_str() else {
            assert_eq!(answer["type"], "success", "{expression}: {answer}");
            return Value::Null;
        };
        serde_json::from_str(text).expect("the page has made JSON")
    }
}

impl ScriptedPage for FirefoxPage {
    async fn go(&self, url: &str) {
        let parameters = json!({"context": self.context, "url": url, "wait": "complete"});
        self.command("browsingContext.navigate", parameters).await;
    }

    async fn back(&self) {
        let parameters = json!({"context": self.context, "delta": -1});
        self.command("browsingContext.traverseHistory", parameters).await;
    }

    async fn value(&self, expression: &str) -> Value {
        self.evaluate(expression).await
    }

    async fn run(&self, statement: &str) {
        self.evaluate(&format!("(() => {{ {statement} }})()")).await;
    }

    async fn answer(&self, promise: &str) -> Value {
        self.evaluate(promise).await
    }

    async fn console(&self) -> Vec<String> {
        self.connection.lock().await.console.drain(..).collect()
    }
}

impl Connection {
    /// Sends a command, and returns its result.
    async fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let command = json!({"id": self.last_id, "method": method, "params": parameters});
        let sent = self.socket.send(Message::text(command.to_string())).await;
        sent.unwrap_or_else(|error| panic!("Firefox has ended: {error}"));
        loop {
            let message = self.next().await;
            match message["type"].as_str() {
                Some("success") if message["id"] == self.last_id => {
                    return message["result"].clone();
                }
                Some("error") => panic!("Firefox could not do {command}: {message}"),
                _ if message["method"] == "log.entryAdded" => {
                    let entry = &message["params"];
                    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                    self.console.push_back(format!("{} {}", text("level"), text("text")));
                }
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Value {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).expect("Firefox sends JSON");
                }
                Some(Ok(_)) => {}
                ended => panic!("Firefox has ended: {ended:?}"),
            }
        }
    }
}

/// Returns the address in `WebDriver BiDi listening on ws://127.0.0.1:40123`.
fn address_in(line: &str) -> Option<String> {
    line.strip_prefix("WebDriver BiDi listening on ").map(|address| address.trim().to_owned())
}
