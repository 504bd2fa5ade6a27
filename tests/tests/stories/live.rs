//! Two people with one list.

use backwire_tests::Stage;

#[tokio::test]
async fn added_todo_appears_in_the_other_window() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    a.add("Milk").await;
    b.shows(["[ ] Milk"]).await;
    b.add("Eggs").await;
    a.shows(["[ ] Milk", "[ ] Eggs"]).await;
    b.shows(["[ ] Milk", "[ ] Eggs"]).await;
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn changed_todo_changes_in_the_other_window() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    a.add("Milk").await;
    b.shows(["[ ] Milk"]).await;
    b.toggle("Milk").await;
    a.shows(["[x] Milk"]).await;
    a.rename("Milk", "Oat milk").await;
    b.shows(["[x] Oat milk"]).await;
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn deleted_todo_disappears_in_the_other_window() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    for title in ["Milk", "Eggs", "Bread"] {
        a.add(title).await;
    }
    b.shows(["[ ] Milk", "[ ] Eggs", "[ ] Bread"]).await;
    a.delete("Eggs").await;
    b.shows(["[ ] Milk", "[ ] Bread"]).await;
    b.toggle("Milk").await;
    a.shows(["[x] Milk", "[ ] Bread"]).await;
    a.clear_completed().await;
    b.shows(["[ ] Bread"]).await;
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn later_window_shows_existing_todos_and_new_ones() {
    let stage = Stage::set();
    let a = stage.window().await;
    a.add("Milk").await;
    a.toggle("Milk").await;
    a.is_saved().await;
    let b = stage.window().await;
    b.shows(["[x] Milk"]).await;
    a.add("Eggs").await;
    b.shows(["[x] Milk", "[ ] Eggs"]).await;
    b.was_consistent().await;
}
