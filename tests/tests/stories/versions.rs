//! Backwire works with each version of Backbone, and with the libraries that pages use in place of
//! jQuery and underscore. The stories are in `tests/pages/versions.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn backwire_works_with_each_version_of_backbone() {
    scripted::play("versions").await;
}
