//! Any page, with JavaScript expressions and waits.
//!
//! For a wait, the page evaluates an expression until it is true. If that takes too long, the story
//! fails and reports what the page showed instead.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::prelude::*;

use crate::process::Process;

/// The timeout of a wait. It is enough for a reconnect with the maximum pause, on a machine that is
/// busy with other tests.
const PAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// A page in its own browser, which is closed when this is dropped.
#[derive(Debug)]
pub struct Page {
    // The drop order matters: first the session, then its profile, and the driver after its last
    // session.
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
        expect_ok(&format!("load {url}"), self.session.goto(url).await);
    }

    /// Returns to the page before this one.
    pub async fn back(&self) {
        expect_ok("go back", self.session.back().await);
    }

    /// Returns the current value of a JavaScript expression.
    pub async fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression})");
        let answer = self.session.execute(script, []).await;
        expect_ok(expression, answer).json().clone()
    }

    /// Runs a JavaScript statement on the page.
    pub async fn run(&self, statement: &str) {
        expect_ok(statement, self.session.execute(statement, []).await);
    }

    /// Returns the element that a JavaScript expression finds.
    pub async fn element(&self, expression: &str) -> WebElement {
        let script = format!("return ({expression})");
        let answer = self.session.execute(script, []).await;
        expect_ok(expression, expect_ok(expression, answer).element())
    }

    /// Waits until a JavaScript expression is true.
    pub async fn until(&self, expression: &str, what: impl fmt::Display) {
        let answer = self.session.execute_async(waiting(expression), []).await;
        if expect_ok(expression, answer).json() != &json!(true) {
            panic!("waited in vain for {what}\n{}", self.state().await);
        }
    }

    /// Returns the value of a promise.
    pub async fn answer(&self, promise: &str) -> Value {
        let script = format!("const end = arguments[arguments.length - 1]; ({promise}).then(end);");
        let answer = self.session.execute_async(script, []).await;
        expect_ok(promise, answer).json().clone()
    }

    /// Returns the console lines since the last call.
    pub async fn console(&self) -> Vec<String> {
        let entries = expect_ok("show its console", self.session.browser_log().await);
        entries.into_iter().map(|entry| format!("{} {}", entry.level, entry.message)).collect()
    }

    /// Returns the number of HTTP requests that scripts of this page have made to paths with this
    /// prefix.
    pub async fn requests_to(&self, path: &str) -> usize {
        let count = format!(
            "performance.getEntriesByType('resource').filter(entry => \
             ['xmlhttprequest', 'fetch'].includes(entry.initiatorType) && \
             new URL(entry.name).pathname.startsWith('{path}')).length"
        );
        self.value(&count).await.as_u64().expect("a length is a number") as usize
    }

    /// Returns a screenshot as a `data:` url of a PNG.
    pub async fn picture(&self) -> String {
        let png = expect_ok("take a picture", self.session.screenshot_as_png_base64().await);
        format!("data:image/png;base64,{png}")
    }

    /// Returns a screenshot of an element as a PNG.
    pub async fn picture_of(&self, expression: &str) -> Vec<u8> {
        let element = self.element(expression).await;
        expect_ok("take a picture", element.screenshot_as_png().await)
    }

    /// Resizes the window.
    pub async fn resize(&self, width: u32, height: u32) {
        expect_ok("resize", self.session.set_window_rect(0, 0, width, height).await);
    }

    /// Returns the session, for mouse and keyboard input.
    pub fn session(&self) -> &WebDriver {
        &self.session
    }

    /// Returns the state of the page for an error message.
    async fn state(&self) -> String {
        let text = self.value("document.body.innerText").await;
        let console = self.console().await;
        let text = text.as_str().unwrap_or("nothing");
        format!("-- the page showed\n{text}\n-- its console said\n{}", console.join("\n"))
    }
}

/// Returns the value of a result, or fails the story.
pub(crate) fn expect_ok<T>(what: &str, result: WebDriverResult<T>) -> T {
    result.unwrap_or_else(|error| panic!("the browser could not {what}: {error}"))
}

/// Returns a script that answers `true` as soon as an expression is true, or `false` after the
/// timeout. An expression that throws is not true.
fn waiting(expression: &str) -> String {
    format!(
        "const answer = arguments[arguments.length - 1];
         const isTrue = () => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }};
         const end = performance.now() + {timeout};
         (function ask() {{
           if (isTrue()) answer(true);
           else if (performance.now() > end) answer(false);
           else setTimeout(ask, 10);
         }})();",
        timeout = PAGE_TIMEOUT.as_millis()
    )
}
