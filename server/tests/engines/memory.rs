//! What is true of memory.

use backwire::engine::Window;

use crate::store::{memory, milk};

#[tokio::test]
async fn nobody_gets_a_place_in_the_tail_before_those_who_came_earlier() {
    let mut store = memory(Window::default(), 2);
    store.done(milk()).await;
    store.done(milk()).await;
    let early = store.begin(milk());
    // Two places are free now: one is for the early writer, which has not come back for it yet.
    store.heard();
    let late = store.begin(milk());
    assert_eq!((early.await, late.await), (3, 4));
}
