//! The page's ajax settings and hooks work as usual. The stories are in
//! `tests/pages/ajax_layer.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn ajax_settings_and_hooks_of_the_page_work_as_usual() {
    scripted::play("ajax_layer").await;
}
