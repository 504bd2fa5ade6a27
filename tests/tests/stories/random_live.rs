//! Random live collections show the same as a fresh read. The program is in
//! `tests/pages/random_live.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn random_live_collections_equal_a_fresh_read() {
    scripted::play("random_live").await;
}
