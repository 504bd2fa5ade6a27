//! Any page, what is asked of it and waited for.
//!
//! Questions are JavaScript expressions. A wait is a question that the page asks itself until the
//! answer is yes; if that takes too long the story ends, with what the page showed instead.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::prelude::*;

use crate::process::Process;

/// How long a page may take to show what a story waits for: a reconnect with its longest pause, on a
/// machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// A page in a browser of its own, which is closed when this is dropped.
#[derive(Debug)]
pub struct Page {
    // The order counts: the session ends, its profile goes, and the driver only after its last session.
    session: WebDriver,
    _profile: TempDir,
    _driver: Arc<Process>,
}

impl Page {
    pub(crate) fn new(session: WebDriver, profile: TempDir, driver: Arc<Process>) -> Self {
        Self { session, _profile: profile, _driver: driver }
    }

    /// Loads another page, or this one again, and returns when it has loaded.
    pub async fn go(&self, url: &str) {
        done(&format!("load {url}"), self.session.goto(url).await);
    }

    /// What a JavaScript expression is at this moment.
    pub async fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression})");
        let answer = self.session.execute(script, []).await;
        done(expression, answer).json().clone()
    }

    /// Does something on the page, whatever comes of it.
    pub async fn run(&self, statement: &str) {
        done(statement, self.session.execute(statement, []).await);
    }

    /// The element that a JavaScript expression finds.
    pub async fn element(&self, expression: &str) -> WebElement {
        let script = format!("return ({expression})");
        let answer = self.session.execute(script, []).await;
        done(expression, done(expression, answer).element())
    }

    /// Waits until a JavaScript expression is true.
    pub async fn until(&self, expression: &str, what: impl fmt::Display) {
        let answer = self.session.execute_async(waiting(expression), []).await;
        if done(expression, answer).json() != &json!(true) {
            panic!("waited in vain for {what}\n{}", self.state().await);
        }
    }

    /// Returns the value of a promise.
    pub async fn answer(&self, promise: &str) -> Value {
        let script = format!("const end = arguments[arguments.length - 1]; ({promise}).then(end);");
        let answer = self.session.execute_async(script, []).await;
        done(promise, answer).json().clone()
    }

    /// Returns the console lines since the last call.
    pub async fn console(&self) -> Vec<String> {
        let entries = done("show its console", self.session.browser_log().await);
        entries.into_iter().map(|entry| format!("{} {}", entry.level, entry.message)).collect()
    }

    /// The requests over HTTP that scripts of this page have made to paths that start like this.
    pub async fn requests_to(&self, path: &str) -> usize {
        let count = format!(
            "performance.getEntriesByType('resource').filter(entry => \
             ['xmlhttprequest', 'fetch'].includes(entry.initiatorType) && \
             new URL(entry.name).pathname.startsWith('{path}')).length"
        );
        self.value(&count).await.as_u64().expect("a length is a number") as usize
    }

    /// What is to be seen, as a `data:` url of a PNG.
    pub async fn picture(&self) -> String {
        let png = done("take a picture", self.session.screenshot_as_png_base64().await);
        format!("data:image/png;base64,{png}")
    }

    /// An element as it is to be seen, as a PNG.
    pub async fn picture_of(&self, expression: &str) -> Vec<u8> {
        let element = self.element(expression).await;
        done("take a picture", element.screenshot_as_png().await)
    }

    /// Gives the window another size.
    pub async fn resize(&self, width: u32, height: u32) {
        done("resize", self.session.set_window_rect(0, 0, width, height).await);
    }

    /// The session, for what a person does with mouse and keyboard.
    pub fn session(&self) -> &WebDriver {
        &self.session
    }

    /// What a developer would look at first.
    async fn state(&self) -> String {
        let text = self.value("document.body.innerText").await;
        let console = self.console().await;
        let text = text.as_str().unwrap_or("nothing");
        format!("-- the page showed\n{text}\n-- its console said\n{}", console.join("\n"))
    }
}

/// What must work for the story to go on.
pub(crate) fn done<T>(what: &str, result: WebDriverResult<T>) -> T {
    result.unwrap_or_else(|error| panic!("the browser could not {what}: {error}"))
}

/// A script that answers `true` as soon as an expression is, or `false` when patience has run out. As
/// long as the expression cannot be evaluated it is not true.
fn waiting(expression: &str) -> String {
    format!(
        "const answer = arguments[arguments.length - 1];
         const isTrue = () => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }};
         const end = performance.now() + {patience};
         (function ask() {{
           if (isTrue()) answer(true);
           else if (performance.now() > end) answer(false);
           else setTimeout(ask, 10);
         }})();",
        patience = PATIENCE.as_millis()
    )
}
