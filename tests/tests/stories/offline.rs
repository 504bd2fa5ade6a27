//! A line breaks, and nothing is lost or done twice.

use backwire_tests::Stage;

#[tokio::test]
async fn what_was_missed_while_the_line_was_cut_arrives_once() {
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
    b.line.mend();
    b.shows(["[x] Milk", "[ ] Eggs"]).await;
    b.is("online").await;
    // What comes after it comes as before, and nothing comes again.
    a.add("Bread").await;
    b.shows(["[x] Milk", "[ ] Eggs", "[ ] Bread"]).await;
    assert!(b.line.faults() > 0);
    b.was_calm().await;
}

#[tokio::test]
async fn what_was_written_while_the_line_was_cut_is_sent_once() {
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
    b.line.mend();
    a.shows(["[x] Milk", "[ ] Eggs"]).await;
    b.is("online").await;
    b.shows(["[x] Milk", "[ ] Eggs"]).await;
    a.was_calm().await;
    b.was_calm().await;
}

#[tokio::test]
async fn what_was_written_offline_survives_a_reload_and_is_done_once() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    a.add("Milk").await;
    b.shows(["[ ] Milk"]).await;
    b.drop_or_return().await;
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
    a.was_calm().await;
    b.was_calm().await;
}

#[tokio::test]
async fn two_people_who_change_different_things_of_one_todo_both_keep_their_change() {
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
    b.line.mend();
    a.shows(["[x] Oat milk"]).await;
    b.shows(["[x] Oat milk"]).await;
    a.was_calm().await;
    b.was_calm().await;
}

#[tokio::test]
async fn both_sides_of_a_cut_line_come_together() {
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
    b.line.mend();
    let together = ["[x] Milk", "[x] Eggs", "[ ] Salt", "[ ] Pepper"];
    a.shows(together).await;
    b.shows(together).await;
    a.was_calm().await;
    b.was_calm().await;
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_done_once() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    b.line.deafen();
    b.add("Milk").await;
    // The server has it, and b does not know.
    a.shows(["[ ] Milk"]).await;
    b.line.cut();
    b.is("connecting or offline").await;
    b.line.mend();
    b.is("online").await;
    b.toggle("Milk").await;
    a.shows(["[x] Milk"]).await;
    b.shows(["[x] Milk"]).await;
    a.was_calm().await;
    b.was_calm().await;
}

#[tokio::test]
async fn a_todo_that_is_changed_before_its_creation_is_answered_is_one_todo() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    b.line.deafen();
    b.add("Milk").await;
    a.shows(["[ ] Milk"]).await;
    b.toggle("Milk").await;
    b.rename("Milk", "Oat milk").await;
    b.line.mend();
    a.shows(["[x] Oat milk"]).await;
    b.shows(["[x] Oat milk"]).await;
    b.is_saved().await;
    a.was_calm().await;
    b.was_calm().await;
}

#[tokio::test]
async fn a_todo_that_is_made_and_deleted_offline_never_was() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    b.line.cut();
    b.is("connecting or offline").await;
    b.add("Milk").await;
    b.add("Eggs").await;
    b.toggle("Milk").await;
    b.delete("Milk").await;
    b.shows(["[ ] Eggs"]).await;
    b.line.mend();
    // Whatever was made before the eggs has arrived before them.
    a.shows(["[ ] Eggs"]).await;
    b.is_saved().await;
    a.add("Bread").await;
    b.shows(["[ ] Eggs", "[ ] Bread"]).await;
    a.was_calm().await;
    b.was_calm().await;
}

#[tokio::test]
async fn a_line_that_was_frozen_delivers_what_it_kept_back() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    b.line.freeze();
    a.add("Milk").await;
    a.is_saved().await;
    b.add("Eggs").await;
    b.shows(["[ ] Eggs"]).await;
    b.line.mend();
    a.shows(["[ ] Milk", "[ ] Eggs"]).await;
    b.shows(["[ ] Milk", "[ ] Eggs"]).await;
    assert_eq!(b.line.faults(), 0);
    a.was_calm().await;
    b.was_calm().await;
}

#[tokio::test]
async fn who_goes_offline_on_purpose_stays_there_until_they_return() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    b.drop_or_return().await;
    b.is("offline").await;
    b.add("Milk").await;
    b.has_unsent(1).await;
    a.add("Eggs").await;
    a.is_saved().await;
    b.shows(["[ ] Milk"]).await;
    b.drop_or_return().await;
    b.is("online").await;
    a.shows(["[ ] Eggs", "[ ] Milk"]).await;
    b.shows(["[ ] Eggs", "[ ] Milk"]).await;
    a.was_calm().await;
    b.was_calm().await;
}
