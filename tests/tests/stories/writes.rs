//! Each write is done once and answered once. The stories are in `tests/pages/writes.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn a_write_is_done_once_and_answered_once() {
    scripted::play("writes").await;
}
