//! A page behind a proxy that refuses, drops or never answers WebSockets. The stories are in
//! `tests/pages/polling.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn page_is_live_without_websockets_and_uses_them_again_when_they_work() {
    scripted::play("polling").await;
}
