//! Pages with the script tag in Firefox. The stories are those of Chromium.

use backwire_tests::firefox::FirefoxPage;
use backwire_tests::scripted;

#[tokio::test]
async fn firefox_pages_have_the_same_set_ups() {
    scripted::play_in(&FirefoxPage::open().await, "page_setup").await;
}

#[tokio::test]
async fn firefox_pages_write_and_read_as_chromium_pages_do() {
    scripted::play_in(&FirefoxPage::open().await, "writes").await;
}
