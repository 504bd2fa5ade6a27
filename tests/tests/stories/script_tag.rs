//! The effects of the script tag on a page.

use backwire_tests::{Browser, Page, Proxy, Server, Site};

/// The scripts before the tag: Backbone, and a copy of its original sync.
const BEFORE: &str = r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="vendor/jquery.min.js"></script>
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script>var original = Backbone.sync, atOnce = {}, done = [];</script>"#;

/// The script right after the tag: it checks the state and reads.
const AFTER: &str = r#"
    <script>
      atOnce.hasBackwire = Boolean(window.Backwire);
      atOnce.isReplaced = Backbone.sync !== original;
      var List = Backbone.Collection.extend({url: '/todo'});
      var Plain = List.extend({realtime: false});
      var noted = name => ({success: () => done.push(name), error: () => done.push('no ' + name)});
      var list = new List();
      list.fetch(noted('list'));
    </script>"#;

/// A server with pages of the test, and a browser.
struct Stage {
    site: Site,
    server: Server,
    browser: Browser,
}

impl Stage {
    fn set() -> Self {
        let site = Site::new();
        let server = Server::with_pages(site.path());
        Self { site, server, browser: Browser::start() }
    }

    /// Opens a page with this tag between Backbone and the first script of the page.
    async fn open(&self, origin: &str, tag: &str) -> Page {
        self.site.write("index.html", &[BEFORE, tag, AFTER].concat());
        self.browser.open(&format!("{origin}/index.html")).await
    }

    async fn open_with_tag(&self) -> Page {
        self.open(&self.server.origin(), r#"<script src="/backwire.js"></script>"#).await
    }
}

/// Waits until a read or a write of the page has succeeded.
async fn success(page: &Page, name: &str) {
    let is_done = format!("done.includes('{name}')");
    page.until(&is_done, format!("{name} to succeed")).await;
}

#[tokio::test]
async fn tag_replaces_backbone_sync_before_the_next_script_runs() {
    let page = Stage::set().open_with_tag().await;
    assert_eq!(page.value("atOnce.hasBackwire").await, true);
    assert_eq!(page.value("atOnce.isReplaced").await, true);
}

#[tokio::test]
async fn fetch_of_the_next_script_uses_the_socket() {
    let stage = Stage::set();
    let page = stage.open_with_tag().await;
    success(&page, "list").await;
    page.run("list.create({title: 'Milk'}, noted('create'))").await;
    success(&page, "create").await;
    assert_eq!(page.value("list.first().id").await, 1);
    assert_eq!(page.requests_to("/todo").await, 0);
}

#[tokio::test]
async fn non_realtime_requests_use_http() {
    let stage = Stage::set();
    let page = stage.open_with_tag().await;
    success(&page, "list").await;
    page.run("new Plain().create({title: 'Milk'}, noted('class'))").await;
    success(&page, "class").await;
    assert_eq!(page.requests_to("/todo").await, 1);
    page.run("new List().fetch({realtime: false, ...noted('option')})").await;
    success(&page, "option").await;
    assert_eq!(page.requests_to("/todo").await, 2);
    // Changes made over HTTP are pushed over sockets too.
    page.until("list.length === 1 && list.first().get('title') === 'Milk'", "the news").await;
}

#[tokio::test]
async fn page_of_another_origin_uses_the_server_of_its_tag() {
    let stage = Stage::set();
    let elsewhere = Proxy::to(stage.server.address()).await;
    let tag = format!(r#"<script src="{}/backwire.js"></script>"#, stage.server.origin());
    let page = stage.open(&elsewhere.localhost(), &tag).await;
    // From here on, everything comes from another server than the page.
    elsewhere.cut();
    success(&page, "list").await;
    page.run("list.create({title: 'Milk'}, noted('create'))").await;
    success(&page, "create").await;
    let neighbour = stage.open_with_tag().await;
    success(&neighbour, "list").await;
    assert_eq!(neighbour.value("list.pluck('title')").await.to_string(), r#"["Milk"]"#);
    neighbour.run("list.first().save({title: 'Oat milk'})").await;
    page.until("list.first().get('title') === 'Oat milk'", "the news").await;
}

#[tokio::test]
async fn backbone_works_unchanged_where_wasm_is_forbidden() {
    let stage = Stage::set();
    let tag = r#"
        <meta http-equiv="Content-Security-Policy" content="script-src 'self' 'unsafe-inline'">
        <script src="/backwire.js"></script>"#;
    let page = stage.open(&stage.server.origin(), tag).await;
    success(&page, "list").await;
    page.run("list.create({title: 'Milk'}, noted('create'))").await;
    success(&page, "create").await;
    assert_eq!(page.value("Backbone.sync === original").await, true);
    assert_eq!(page.value("Backwire.error instanceof Error").await, true);
    assert_eq!(page.requests_to("/todo").await, 2);
}

#[tokio::test]
async fn uninstall_restores_backbone() {
    let stage = Stage::set();
    let page = stage.open_with_tag().await;
    success(&page, "list").await;
    page.run("Backwire.uninstall()").await;
    assert_eq!(page.value("Backbone.sync === original").await, true);
    page.run("new List().fetch(noted('plain'))").await;
    success(&page, "plain").await;
    assert_eq!(page.requests_to("/todo").await, 1);
}
