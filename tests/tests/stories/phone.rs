//! The demo on a phone: all actions of its hint work by touch.

use backwire_tests::{Stage, Window};
use thirtyfour::Key;

/// Opens a phone and a computer that show one todo, and its editor on the phone.
async fn phone_that_edits_milk(stage: &Stage) -> (Window, Window) {
    let (phone, computer) = tokio::join!(stage.phone(), stage.window());
    computer.add("Milk").await;
    phone.shows(["[ ] Milk"]).await;
    phone.edit("Milk").await;
    (phone, computer)
}

#[tokio::test]
async fn hint_names_the_gestures_of_the_device() {
    let stage = Stage::set();
    let (phone, computer) = tokio::join!(stage.phone(), stage.window());
    let hint = phone.hint().await;
    assert!(hint.contains("Tap the pencil"), "{hint}");
    for absent in ["Double-click", "Enter", "F2"] {
        assert!(!hint.contains(absent), "{hint}");
    }
    let hint = computer.hint().await;
    assert!(hint.contains("Double-click") && !hint.contains("Tap"), "{hint}");
}

#[tokio::test]
async fn tap_on_the_pencil_edits_a_title() {
    let stage = Stage::set();
    let (phone, computer) = phone_that_edits_milk(&stage).await;
    phone.enter("Oat milk" + Key::Enter).await;
    computer.shows(["[ ] Oat milk"]).await;
    phone.was_consistent().await;
}

#[tokio::test]
async fn cancel_button_ends_an_edit_without_saving() {
    let stage = Stage::set();
    let (phone, computer) = phone_that_edits_milk(&stage).await;
    phone.enter("Oat milk").await;
    phone.cancel("Milk").await;
    // Writes of a page arrive in order: a save of the title would arrive before this one.
    phone.add("Eggs").await;
    computer.shows(["[ ] Milk", "[ ] Eggs"]).await;
    phone.shows(["[ ] Milk", "[ ] Eggs"]).await;
    phone.was_consistent().await;
}

#[tokio::test]
async fn edit_of_a_deleted_todo_can_be_cancelled_by_touch() {
    let stage = Stage::set();
    let (phone, computer) = phone_that_edits_milk(&stage).await;
    phone.enter("Oat milk").await;
    computer.delete("Milk").await;
    let has_note = "document.body.innerText.includes('Somebody deleted it')";
    phone.page.until(has_note, "the note that the todo was deleted").await;
    phone.cancel("Milk").await;
    phone.shows([]).await;
    computer.shows([]).await;
}

#[tokio::test]
async fn edit_of_a_title_that_others_change_can_be_cancelled_by_mouse() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    a.add("Milk").await;
    b.shows(["[ ] Milk"]).await;
    b.edit("Milk").await;
    b.enter("Oat milk").await;
    a.rename("Milk", "Soy milk").await;
    b.shows(["[ ] Soy milk"]).await;
    b.cancel("Soy milk").await;
    b.add("Eggs").await;
    a.shows(["[ ] Soy milk", "[ ] Eggs"]).await;
}
