//! The programs of *Test your server*, as the page has them.

#![allow(clippy::missing_panics_doc, missing_docs, reason = "they are as short as the page")]

use backwire::Server;
use backwire::model::Model;
use backwire::server::Builder;

pub fn server() -> Builder {
    Server::builder().resource("todo", Model::default()).expect("the model is valid")
}

mod first_test {
    use backwire_testing::{App, json};

    use crate::server;

    #[tokio::test]
    async fn others_see_a_new_todo() {
        let app = App::new(server()).await;
        let mut ann = app.client().await;
        let bob = app.client().await;
        assert!(ann.subscribe("todo").await.is_empty());
        assert_eq!(bob.post("/todo", json!({ "title": "Milk" })).await.status, 201);
        assert_eq!(ann.next_change().await.data["title"], "Milk");
    }
}

mod access {
    use backwire::Server;
    use backwire::access::{Access, Grant, Rule};
    use backwire::model::Model;
    use backwire_testing::{App, json};

    #[tokio::test]
    async fn only_authors_see_their_notes() {
        let own = || Some(Rule(vec![Grant::Owner]));
        let access = Access { owner: Some("author".to_owned()), read: own(), ..Access::default() };
        let server = Server::builder().resource("note", Model { access, ..Model::default() });
        let app = App::new(server.expect("the model is valid")).await;
        app.create("note", json!({ "author": "ann", "text": "Milk" })).await;
        let (mut ann, mut bob) = (app.browser(), app.browser());
        ann.sign_in("ann", []).await;
        bob.sign_in("bob", []).await;
        assert_eq!(ann.get("/note").await.ok()[0]["text"], "Milk");
        assert_eq!(bob.client().await.subscribe("note").await.len(), 0);
        assert_eq!(app.browser().get("/note").await.code(), "E_UNAUTHORIZED");
    }
}

mod time {
    use std::time::Duration;

    use backwire::Server;
    use backwire_testing::{App, BEGIN, json};

    #[tokio::test]
    async fn todos_have_the_time_of_the_clock() {
        let app = App::new(Server::builder()).await;
        assert_eq!(app.create("todo", json!({})).await["createdAt"], BEGIN);
        app.clock().advance(Duration::from_secs(60 * 60)).await;
        assert_eq!(app.create("todo", json!({})).await["createdAt"], BEGIN + 3_600_000);
    }
}

mod inside {
    use backwire::Server;
    use backwire::axum::Router;
    use backwire::axum::routing::get;
    use backwire::server::{Builder, Handle, StartError};
    use backwire_testing::App;

    pub async fn my_app(server: Builder) -> Result<(Router, Handle), StartError> {
        let (live, handle) = server.build().await?;
        Ok((Router::new().route("/", get(async || "home")).nest("/live", live), handle))
    }

    #[tokio::test]
    async fn app_has_a_home_and_is_live() {
        let app = App::inside("/live", Server::builder(), my_app).await;
        assert_eq!(app.browser().get("/").await.ok(), "home");
        assert_eq!(app.client().await.get("/live/todo").await.status, 200);
    }
}

#[test]
fn page_has_these_programs() {
    let page = include_str!("../../../docs/how-to/test-your-server.md");
    let without_blanks = |text: &str| text.split_whitespace().collect::<String>();
    let programs = without_blanks(include_str!("documented.rs"));
    let blocks = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let missing: Vec<_> = blocks.filter(|it| !programs.contains(&without_blanks(it))).collect();
    assert_eq!(missing, [""; 0]);
}
