//! A live collection shows the results of its page's requests. The stories are in
//! `tests/pages/live_queries.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn live_collection_shows_the_results_of_its_queries() {
    scripted::play("live_queries").await;
}
