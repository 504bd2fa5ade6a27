//! Two people look at one list.

use backwire_tests::Stage;

#[tokio::test]
async fn what_one_adds_the_other_sees() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    a.add("Milk").await;
    b.shows(["[ ] Milk"]).await;
    b.add("Eggs").await;
    a.shows(["[ ] Milk", "[ ] Eggs"]).await;
    b.shows(["[ ] Milk", "[ ] Eggs"]).await;
    a.was_calm().await;
    b.was_calm().await;
}

#[tokio::test]
async fn what_one_changes_the_other_sees() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    a.add("Milk").await;
    b.shows(["[ ] Milk"]).await;
    b.toggle("Milk").await;
    a.shows(["[x] Milk"]).await;
    a.rename("Milk", "Oat milk").await;
    b.shows(["[x] Oat milk"]).await;
    a.was_calm().await;
    b.was_calm().await;
}

#[tokio::test]
async fn what_one_deletes_the_other_sees_no_more() {
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
    a.was_calm().await;
    b.was_calm().await;
}

#[tokio::test]
async fn who_comes_later_sees_what_there_is_and_then_what_comes() {
    let stage = Stage::set();
    let a = stage.window().await;
    a.add("Milk").await;
    a.toggle("Milk").await;
    a.is_saved().await;
    let b = stage.window().await;
    b.shows(["[x] Milk"]).await;
    a.add("Eggs").await;
    b.shows(["[x] Milk", "[ ] Eggs"]).await;
    b.was_calm().await;
}
