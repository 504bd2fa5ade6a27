//! Random writes are committed once, also over bad lines and reloads. The program is in
//! `tests/pages/random_writes.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn random_writes_are_committed_once_and_answered_once() {
    scripted::play("random_writes").await;
}
