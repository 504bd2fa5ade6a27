//! Random programs of Backbone calls do the same with Backwire as without. The program is in `tests/pages/comparison.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn backbone_behaves_as_without_backwire() {
    scripted::play("comparison").await;
}
