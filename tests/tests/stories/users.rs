//! Tokens, users and tabs. The stories are in `tests/pages/users.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn writes_are_sent_once_and_for_the_user_that_made_them() {
    scripted::play("users").await;
}
