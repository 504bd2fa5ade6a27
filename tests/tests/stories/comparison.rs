//! Random programs of Backbone calls behave the same with and without Backwire. The programs are in
//! `tests/pages/comparison.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn backbone_behaves_the_same_with_and_without_backwire() {
    scripted::play("comparison").await;
}
