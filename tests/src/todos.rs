//! The demo as a person sees and uses it.
//!
//! This module uses only what is on the screen, and finds elements by their test ids. A todo is
//! written as in Markdown, `[ ] Milk` or `[x] Milk`.

use serde_json::json;
use thirtyfour::prelude::*;

use crate::page::{Page, expect_ok};
use crate::proxy::Proxy;

/// A JavaScript expression for all todos on the screen.
const TODOS: &str = "[...document.querySelectorAll('[data-testid=todo]')].map(todo => \
    (todo.querySelector('[data-testid=toggle]').checked ? '[x] ' : '[ ] ') + \
    todo.querySelector('[data-testid=title]').textContent)";

/// Records every title that was ever on the screen twice, even for an instant.
const WATCH: &str = "(() => {
    window.seenTwice = [];
    new MutationObserver(() => {
        const titles = [...document.querySelectorAll('[data-testid=title]')].map(it => it.textContent);
        seenTwice.push(...titles.filter((title, index) => titles.indexOf(title) !== index));
    }).observe(document.body, {childList: true, subtree: true, characterData: true});
})()";

/// True after the list has been read: it has todos, or the page shows that it is empty.
const HAS_READ: &str =
    "document.querySelector('[data-testid=todo]') || !document.querySelector('.empty').hidden";

/// The demo in its own browser, on its own line.
#[derive(Debug)]
pub struct Window {
    /// The line between this window and the server.
    pub line: Proxy,
    /// The page, for everything that is not specific to the demo.
    pub page: Page,
}

impl Window {
    pub(crate) async fn new(line: Proxy, page: Page) -> Self {
        page.run(WATCH).await;
        let window = Self { line, page };
        window.is("online").await;
        window.page.until(HAS_READ, "the list, or that it is empty").await;
        window
    }

    /// Reloads the page.
    pub async fn reload(&self) {
        self.page.go(&self.line.origin()).await;
        self.page.run(WATCH).await;
    }

    /// Adds a todo.
    pub async fn add(&self, title: &str) {
        let input = self.page.element(&by_testid("new-todo")).await;
        expect_ok("type", input.send_keys(title + Key::Enter).await);
    }

    /// Toggles a todo.
    pub async fn toggle(&self, title: &str) {
        self.click(&part_of(title, "toggle")).await;
    }

    /// Deletes a todo.
    pub async fn delete(&self, title: &str) {
        self.click(&part_of(title, "destroy")).await;
    }

    /// Renames a todo: double-clicks it and types over the title.
    pub async fn rename(&self, title: &str, new_title: &str) {
        let shown = self.page.element(&part_of(title, "title")).await;
        let double_click = self.page.session().action_chain().double_click_element(&shown);
        expect_ok("double-click", double_click.perform().await);
        self.page.until(&format!("!{}.hidden", part_of(title, "edit")), "the editor").await;
        self.enter(new_title + Key::Enter).await;
    }

    /// Opens the editor of a todo with its pencil button.
    pub async fn edit(&self, title: &str) {
        self.click(&part_of(title, "pencil")).await;
        self.page.until(&format!("!{}.hidden", part_of(title, "edit")), "the editor").await;
    }

    /// Types with the keyboard. The whole text of a newly opened editor is selected.
    pub async fn enter(&self, text: impl Into<TypingData>) {
        let typing = self.page.session().action_chain().send_keys(text);
        expect_ok("type", typing.perform().await);
    }

    /// Ends an edit with its Cancel button.
    pub async fn cancel(&self, title: &str) {
        self.click(&part_of(title, "cancel")).await;
    }

    /// Returns the visible part of the hint below the list.
    pub async fn hint(&self) -> String {
        let hint = self.page.value(&format!("{}.innerText", by_testid("hint"))).await;
        hint.as_str().unwrap_or_default().to_owned()
    }

    /// Deletes all todos that are completed.
    pub async fn clear_completed(&self) {
        self.click(&by_testid("clear-completed")).await;
    }

    /// Presses the button that disconnects or reconnects.
    pub async fn toggle_connection(&self) {
        self.click(&by_testid("drop")).await;
    }

    /// Waits until exactly these todos are on the screen, in this order.
    pub async fn shows<const N: usize>(&self, todos: [&str; N]) {
        let expected = json!(todos.as_slice());
        let is_shown = format!("JSON.stringify({TODOS}) === JSON.stringify({expected})");
        self.page.until(&is_shown, format!("{todos:?}")).await;
    }

    /// Waits until exactly these todos are on the screen, in any order.
    pub async fn shows_all(&self, todos: &[String]) {
        let mut expected = todos.to_vec();
        expected.sort_unstable();
        let is_shown =
            format!("JSON.stringify({TODOS}.sort()) === JSON.stringify({})", json!(expected));
        self.page.until(&is_shown, format!("{expected:#?}")).await;
    }

    /// Waits until all changes on the screen are saved.
    pub async fn is_saved(&self) {
        let nothing_waits = "!document.querySelector('[data-testid=todo]:is([data-save=pending], \
                             [data-save=failed])')";
        self.page.until(nothing_waits, "all todos to be saved").await;
    }

    /// Waits until no change of others is highlighted any more.
    pub async fn has_no_highlights(&self) {
        self.page.until("!document.querySelector('.news')", "the news to be old").await;
    }

    /// Waits until the status light has one of these states, such as `online`, or `connecting or
    /// offline`.
    pub async fn is(&self, states: &str) {
        let light = by_testid("light");
        let is_so = format!("'{states}'.split(' or ').includes({light}.dataset.state)");
        self.page.until(&is_so, format!("the light to be {states}")).await;
    }

    /// Waits until the status light shows this number of unsent writes.
    pub async fn has_unsent(&self, count: usize) {
        let light = by_testid("light");
        let tells = format!("{light}.textContent.endsWith(', {count} unsent')");
        self.page.until(&tells, format!("the light to show {count} unsent")).await;
    }

    /// Checks that no todo was ever on the screen twice, not even for an instant, and that no error
    /// was shown.
    pub async fn was_consistent(&self) {
        assert_eq!(self.page.value("seenTwice").await, json!([]), "were on the screen twice");
        let error = by_testid("error");
        let complaint = format!("{error}.hidden ? '' : {error}.innerText");
        assert_eq!(self.page.value(&complaint).await, "", "was complained of");
    }

    async fn click(&self, expression: &str) {
        let element = self.page.element(expression).await;
        expect_ok("click", element.click().await);
    }
}

fn by_testid(id: &str) -> String {
    format!("document.querySelector('[data-testid={id}]')")
}

/// Returns the expression for a part of the todo with this title.
fn part_of(title: &str, part: &str) -> String {
    let title = json!(title);
    format!(
        "[...document.querySelectorAll('[data-testid=todo]')].find(todo => \
         todo.querySelector('[data-testid=title]').textContent === {title})\
         .querySelector('[data-testid={part}]')"
    )
}
