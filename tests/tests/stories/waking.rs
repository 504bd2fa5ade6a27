//! A page that was hidden, stopped or asleep is live again at once. The stories are in
//! `tests/pages/waking.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn page_that_wakes_up_is_live_again_at_once() {
    scripted::play("waking").await;
}
