//! Everything at once: two people at one list, a line that fails, a reload before it is back, a server
//! that dies meanwhile.

use std::io::Write;

use backwire_tests::{Stage, Window};

/// What happens while the second person is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The line is cut.
    Cut,
    /// The line is cut, and the server is killed and started again.
    CutAndKill,
    /// The line stands, and nothing gets through: neither side is told.
    Freeze,
}

#[tokio::test]
async fn nothing_is_lost_through_everything_with_a_line_that_is_cut() {
    through_everything(Fault::Cut).await;
}

#[tokio::test]
async fn nothing_is_lost_through_everything_with_a_server_that_is_killed() {
    through_everything(Fault::CutAndKill).await;
}

#[tokio::test]
async fn nothing_is_lost_through_everything_with_a_line_that_is_frozen() {
    through_everything(Fault::Freeze).await;
}

async fn through_everything(fault: Fault) {
    let mut stage = Stage::with_pages_elsewhere();
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
    // What it did not write itself it has not read yet.
    b.shows(["[x] Milk", "[x] Sea salt"]).await;
    b.line.mend();
    let together = ["[x] Oat milk", "[ ] Bread", "[x] Sea salt"];
    for window in [&a, &b, &stage.window().await] {
        window.is("online").await;
        window.shows(together).await;
        window.is_saved().await;
        window.was_calm().await;
    }
    tell(fault, faults + b.line.faults());
}

/// Fails the line; how many faults that were which the line does not count.
async fn fail(fault: Fault, window: &Window) -> usize {
    if fault == Fault::Freeze {
        window.line.freeze();
        return 1;
    }
    window.line.cut();
    window.is("connecting or offline").await;
    0
}

/// Not by `println!`, which nobody sees of a test that passes.
fn tell(fault: Fault, faults: usize) {
    assert!(faults > 0, "the line was never down");
    let said = writeln!(std::io::stderr(), "{fault:?}: {faults} faults injected");
    said.expect("stderr is there");
}
