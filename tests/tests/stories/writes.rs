//! Each write is committed once and answered once. The stories are in `tests/pages/writes.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn write_is_committed_once_and_answered_once() {
    scripted::play("writes").await;
}
