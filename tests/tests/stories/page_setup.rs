//! Pages are set up in many ways. The stories are in `tests/pages/page_setup.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn a_page_may_be_set_up_in_many_ways() {
    scripted::play("page_setup").await;
}
