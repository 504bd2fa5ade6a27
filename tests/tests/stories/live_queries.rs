//! Live collections show what their pages asked for. The stories are in `tests/pages/live_queries.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn a_live_collection_shows_what_its_page_asked_for() {
    scripted::play("live_queries").await;
}
