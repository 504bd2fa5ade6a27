//! The ajax layer of the page stays in charge. The stories are in `tests/pages/ajax_layer.js`.

use backwire_tests::scripted;

#[tokio::test]
async fn the_ajax_layer_of_the_page_stays_in_charge() {
    scripted::play("ajax_layer").await;
}
