//! Backwire works in pages with different set-ups. The stories are in `tests/pages/page_setup.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn backwire_works_in_pages_with_different_set_ups() {
    scripted::play("page_setup").await;
}
