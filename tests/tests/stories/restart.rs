//! The server is killed and restarted.

use backwire_tests::Stage;

#[tokio::test]
async fn both_windows_reconnect_after_the_server_was_killed_and_restarted() {
    let mut stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    a.add("Milk").await;
    a.is_saved().await;
    b.add("Eggs").await;
    a.shows(["[ ] Milk", "[ ] Eggs"]).await;
    b.shows(["[ ] Milk", "[ ] Eggs"]).await;
    stage.server.kill();
    a.is("connecting or offline").await;
    b.is("connecting or offline").await;
    a.toggle("Milk").await;
    a.has_unsent(1).await;
    stage.server.start_again();
    a.is("online").await;
    b.is("online").await;
    b.shows(["[x] Milk", "[ ] Eggs"]).await;
    b.add("Bread").await;
    a.shows(["[x] Milk", "[ ] Eggs", "[ ] Bread"]).await;
    a.delete("Eggs").await;
    b.shows(["[x] Milk", "[ ] Bread"]).await;
    a.was_consistent().await;
    b.was_consistent().await;
}

#[tokio::test]
async fn saved_todos_survive_a_kill_of_the_server() {
    let mut stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    for title in ["Milk", "Eggs", "Bread"] {
        a.add(title).await;
    }
    b.shows(["[ ] Milk", "[ ] Eggs", "[ ] Bread"]).await;
    stage.server.kill();
    stage.server.start_again();
    let c = stage.window().await;
    c.shows(["[ ] Milk", "[ ] Eggs", "[ ] Bread"]).await;
}

#[tokio::test]
async fn windows_show_what_a_restored_backup_has_and_are_live() {
    let mut stage = Stage::set();
    let (connected, away) = stage.two_windows().await;
    connected.add("Milk").await;
    away.shows(["[ ] Milk"]).await;
    stage.server.back_up("backup.db");
    connected.add("Eggs").await;
    connected.toggle("Milk").await;
    away.shows(["[x] Milk", "[ ] Eggs"]).await;
    away.line.cut();
    stage.server.kill();
    stage.server.restore("backup.db");
    stage.server.start_again();
    connected.is("online").await;
    connected.shows(["[ ] Milk"]).await;
    // The restored log overtakes the position of the window that is away.
    for title in ["Bread", "Rice", "Tea", "Salt"] {
        connected.add(title).await;
    }
    let todos = ["[ ] Milk", "[ ] Bread", "[ ] Rice", "[ ] Tea", "[ ] Salt"];
    connected.shows(todos).await;
    away.line.repair();
    away.is("online").await;
    away.shows(todos).await;
    away.toggle("Tea").await;
    connected.shows(["[ ] Milk", "[ ] Bread", "[ ] Rice", "[x] Tea", "[ ] Salt"]).await;
}
