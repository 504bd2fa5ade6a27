//! Random writes are done once, also over bad lines and reloads. The program is in `tests/pages/random_writes.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn random_writes_are_done_once_and_answered_once() {
    scripted::play("random_writes").await;
}
