//! After an interrupted connection, no write is lost or committed twice.

use backwire_tests::Stage;

#[tokio::test]
async fn changes_missed_during_an_interruption_arrive_once() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    a.add("Milk").await;
    b.shows(["[ ] Milk"]).await;
    b.line.cut();
    b.is("connecting or offline").await;
    a.add("Eggs").await;
    a.toggle("Milk").await;
    a.shows(["[x] Milk", "[ ] Eggs"]).await;
    b.shows(["[ ] Milk"]).await;
    b.line.repair();
    b.shows(["[x] Milk", "[ ] Eggs"]).await;
    b.is("online").await;
    // Later changes arrive as before, and no change arrives again.
    a.add("Bread").await;
    b.shows(["[x] Milk", "[ ] Eggs", "[ ] Bread"]).await;
    assert!(b.line.faults() > 0);
    b.was_consistent().await;
}

#[tokio::test]
async fn writes_made_during_an_interruption_are_sent_once() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    b.add("Milk").await;
    a.shows(["[ ] Milk"]).await;
    b.line.cut();
    b.is("connecting or offline").await;
    b.add("Eggs").await;
    b.toggle("Milk").await;
    b.shows(["[x] Milk", "[ ] Eggs"]).await;
    b.has_unsent(2).await;
    a.shows(["[ ] Milk"]).await;
    b.line.repair();
    a.shows(["[x] Milk", "[ ] Eggs"]).await;
    b.is("online").await;
    b.shows(["[x] Milk", "[ ] Eggs"]).await;
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn offline_writes_survive_a_reload_and_are_committed_once() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    a.add("Milk").await;
    b.shows(["[ ] Milk"]).await;
    b.toggle_connection().await;
    b.is("offline").await;
    b.add("Eggs").await;
    b.toggle("Eggs").await;
    b.toggle("Milk").await;
    b.shows(["[x] Milk", "[x] Eggs"]).await;
    b.has_unsent(2).await;
    a.shows(["[ ] Milk"]).await;
    b.reload().await;
    b.shows(["[x] Milk", "[x] Eggs"]).await;
    a.shows(["[x] Milk", "[x] Eggs"]).await;
    b.reload().await;
    b.is("online").await;
    b.shows(["[x] Milk", "[x] Eggs"]).await;
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn changes_of_different_attributes_of_one_todo_are_both_kept() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    a.add("Milk").await;
    b.shows(["[ ] Milk"]).await;
    b.line.cut();
    b.is("connecting or offline").await;
    a.rename("Milk", "Oat milk").await;
    a.is_saved().await;
    b.toggle("Milk").await;
    b.has_unsent(1).await;
    b.line.repair();
    a.shows(["[x] Oat milk"]).await;
    b.shows(["[x] Oat milk"]).await;
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn both_sides_of_an_interruption_converge() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    for title in ["Milk", "Eggs", "Bread"] {
        a.add(title).await;
    }
    b.shows(["[ ] Milk", "[ ] Eggs", "[ ] Bread"]).await;
    b.line.cut();
    b.is("connecting or offline").await;
    a.toggle("Milk").await;
    a.delete("Bread").await;
    a.add("Salt").await;
    a.shows(["[x] Milk", "[ ] Eggs", "[ ] Salt"]).await;
    a.is_saved().await;
    b.toggle("Eggs").await;
    b.add("Pepper").await;
    b.has_unsent(2).await;
    b.line.repair();
    let together = ["[x] Milk", "[x] Eggs", "[ ] Salt", "[ ] Pepper"];
    a.shows(together).await;
    b.shows(together).await;
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn write_whose_answer_is_lost_is_committed_once() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    b.line.hold_responses();
    b.add("Milk").await;
    // The server has committed the write, and b does not know that.
    a.shows(["[ ] Milk"]).await;
    b.line.cut();
    b.is("connecting or offline").await;
    b.line.repair();
    b.is("online").await;
    b.toggle("Milk").await;
    a.shows(["[x] Milk"]).await;
    b.shows(["[x] Milk"]).await;
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn todo_changed_before_its_create_is_answered_is_one_todo() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    b.line.hold_responses();
    b.add("Milk").await;
    a.shows(["[ ] Milk"]).await;
    b.toggle("Milk").await;
    b.rename("Milk", "Oat milk").await;
    b.line.repair();
    a.shows(["[x] Oat milk"]).await;
    b.shows(["[x] Oat milk"]).await;
    b.is_saved().await;
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn todo_created_and_deleted_offline_is_never_sent() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    b.line.cut();
    b.is("connecting or offline").await;
    b.add("Milk").await;
    b.add("Eggs").await;
    b.toggle("Milk").await;
    b.delete("Milk").await;
    b.shows(["[ ] Eggs"]).await;
    b.line.repair();
    // Earlier writes arrive before the eggs.
    a.shows(["[ ] Eggs"]).await;
    b.is_saved().await;
    a.add("Bread").await;
    b.shows(["[ ] Eggs", "[ ] Bread"]).await;
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn repaired_frozen_line_delivers_held_data() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    b.line.freeze();
    a.add("Milk").await;
    a.is_saved().await;
    b.add("Eggs").await;
    b.shows(["[ ] Eggs"]).await;
    b.line.repair();
    a.shows(["[ ] Milk", "[ ] Eggs"]).await;
    b.shows(["[ ] Milk", "[ ] Eggs"]).await;
    assert_eq!(b.line.faults(), 0);
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn page_that_disconnects_stays_offline_until_it_reconnects() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    b.toggle_connection().await;
    b.is("offline").await;
    b.add("Milk").await;
    b.has_unsent(1).await;
    a.add("Eggs").await;
    a.is_saved().await;
    b.shows(["[ ] Milk"]).await;
    b.toggle_connection().await;
    b.is("online").await;
    a.shows(["[ ] Eggs", "[ ] Milk"]).await;
    b.shows(["[ ] Eggs", "[ ] Milk"]).await;
    a.was_consistent().await;
    b.was_consistent().await;
}
