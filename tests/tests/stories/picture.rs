//! The picture of the README: two windows on one list, side by side.

use std::path::PathBuf;
use std::{env, fs};

use backwire_tests::{Browser, Stage, paths};
use serde_json::json;

#[tokio::test]
async fn two_windows_on_one_list_are_captured() {
    let stage = Stage::set();
    let (a, b) = stage.two_windows().await;
    for title in ["Put one script tag on a page", "Open it in two windows", "Tick this off in one"]
    {
        a.add(title).await;
    }
    a.is_saved().await;
    b.add("See it happen in the other").await;
    b.add("Pull the plug, go on, plug it in").await;
    b.is_saved().await;
    a.toggle("Put one script tag on a page").await;
    let list = |second| {
        [
            "[x] Put one script tag on a page",
            second,
            "[ ] Tick this off in one",
            "[ ] See it happen in the other",
            "[ ] Pull the plug, go on, plug it in",
        ]
    };
    for window in [&a, &b] {
        window.shows(list("[ ] Open it in two windows")).await;
        window.has_no_highlights().await;
    }
    // The picture shows one highlighted change: a sees the change of b.
    b.toggle("Open it in two windows").await;
    for window in [&a, &b] {
        window.shows(list("[x] Open it in two windows")).await;
    }
    let pictures = [a.page.picture().await, b.page.picture().await];
    let picture = side_by_side(stage.browser(), pictures).await;
    fs::write(destination(), picture).unwrap();
}

/// Returns the path of the picture. It is in the docs only on request, so that tests do not change
/// files of the repository.
fn destination() -> PathBuf {
    match env::var_os("BACKWIRE_SCREENSHOT") {
        Some(_) => paths::root().join("docs/demo.png"),
        None => paths::target().join("demo.png"),
    }
}

/// Combines two pictures side by side, in a browser.
async fn side_by_side(browser: &Browser, pictures: [String; 2]) -> Vec<u8> {
    let page = browser.open("about:blank").await;
    page.resize(1600, 1200).await;
    let images = pictures.map(|picture| format!(r#"<img src="{picture}">"#));
    let html = format!(
        r#"<style>
             #both {{ display: inline-flex; gap: 16px; padding: 16px; background: #c3ccc8 }}
             img {{ border-radius: 8px }}
           </style>
           <div id="both">{}</div>"#,
        images.concat()
    );
    page.run(&format!("document.body.innerHTML = {}", json!(html))).await;
    page.until("[...document.images].every(image => image.complete)", "both pictures").await;
    page.picture_of("document.getElementById('both')").await
}
