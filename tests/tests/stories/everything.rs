//! All faults together: two people with one list, a failing line, a reload before it is repaired,
//! and a server that is killed in the meantime.

use std::io::Write;

use backwire_tests::{Stage, WebSockets, Window};

/// The fault while the second person is disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The line is cut.
    Cut,
    /// The line is cut, and the server is killed and started again.
    CutAndKill,
    /// The line is frozen, and neither side notices.
    Freeze,
}

#[tokio::test]
async fn page_and_server_stay_equal_with_a_cut_line() {
    page_and_server_stay_equal(Fault::Cut, WebSockets::Allow).await;
}

#[tokio::test]
async fn page_and_server_stay_equal_with_a_killed_server() {
    page_and_server_stay_equal(Fault::CutAndKill, WebSockets::Allow).await;
}

#[tokio::test]
async fn page_and_server_stay_equal_with_a_frozen_line() {
    page_and_server_stay_equal(Fault::Freeze, WebSockets::Allow).await;
}

#[tokio::test]
async fn page_and_server_stay_equal_with_a_cut_line_and_no_websockets() {
    page_and_server_stay_equal(Fault::Cut, WebSockets::Refuse).await;
}

#[tokio::test]
async fn page_and_server_stay_equal_with_a_killed_server_and_no_websockets() {
    page_and_server_stay_equal(Fault::CutAndKill, WebSockets::Drop).await;
}

#[tokio::test]
async fn page_and_server_stay_equal_with_a_frozen_line_and_websockets_that_hang() {
    page_and_server_stay_equal(Fault::Freeze, WebSockets::Hang).await;
}

async fn page_and_server_stay_equal(fault: Fault, websockets: WebSockets) {
    let mut stage = Stage::with_pages_elsewhere().with_websockets(websockets);
    let (a, b) = stage.two_windows().await;
    for title in ["Milk", "Eggs", "Bread"] {
        a.add(title).await;
    }
    b.shows(["[ ] Milk", "[ ] Eggs", "[ ] Bread"]).await;
    let mut faults = fail(fault, &b).await;
    a.rename("Milk", "Oat milk").await;
    a.is_saved().await;
    b.toggle("Milk").await;
    b.add("Salt").await;
    b.rename("Salt", "Sea salt").await;
    if fault == Fault::CutAndKill {
        stage.server.kill();
        a.is("connecting or offline").await;
        stage.server.start_again();
        faults += 1;
    }
    b.toggle("Sea salt").await;
    b.delete("Eggs").await;
    b.shows(["[x] Milk", "[ ] Bread", "[x] Sea salt"]).await;
    a.shows(["[ ] Oat milk", "[ ] Eggs", "[ ] Bread"]).await;
    b.reload().await;
    // The page has not read the changes of others yet.
    b.shows(["[x] Milk", "[x] Sea salt"]).await;
    b.line.repair();
    let together = ["[x] Oat milk", "[ ] Bread", "[x] Sea salt"];
    for window in [&a, &b, &stage.window().await] {
        window.is("online").await;
        window.shows(together).await;
        window.is_saved().await;
        window.was_consistent().await;
    }
    log_faults(fault, faults + b.line.faults());
}

/// Causes the fault. Returns the number of faults that the line does not count.
async fn fail(fault: Fault, window: &Window) -> usize {
    if fault == Fault::Freeze {
        window.line.freeze();
        return 1;
    }
    window.line.cut();
    window.is("connecting or offline").await;
    0
}

/// Prints the number of faults. `println!` would not show it for a test that passes.
fn log_faults(fault: Fault, faults: usize) {
    assert!(faults > 0, "the line was never down");
    let said = writeln!(std::io::stderr(), "{fault:?}: {faults} faults injected");
    said.expect("stderr is there");
}
