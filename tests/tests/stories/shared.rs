//! Several tabs of one browser share a connection.

use backwire_tests::{Browser, Page, Server, Site};
use serde_json::json;
use thirtyfour::WindowHandle;

/// A page with a list that counts its connections.
const PAGE: &str = r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="vendor/jquery.min.js"></script>
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script>
      const sockets = [];
      WebSocket = class extends WebSocket {
        constructor(...args) {
          super(...args);
          sockets.push(this);
        }
      };
      const connections = () => sockets.filter(({readyState}) => readyState === WebSocket.OPEN).length;
      const read = path => new Promise(resolve => $.getJSON(path).then(resolve, resolve));
    </script>
    <script>if (location.hash === '#plain') delete Navigator.prototype.locks;</script>
    <script src="/backwire.js" data-shared></script>
    <script>
      const todos = new (Backbone.Collection.extend({url: '/todo'}))();
      let isRead = false;
      todos.fetch({success: () => { isRead = true; }});
      const titles = () => todos.filter(todo => !todo.isNew()).map(todo => todo.get('title')).sort().join();
    </script>"#;

/// Tabs of one browser.
struct Tabs {
    page: Page,
    handles: Vec<WindowHandle>,
    _server: Server,
    _site: Site,
}

impl Tabs {
    /// Opens so many tabs, one after the other: the first one leads.
    async fn open(count: usize, hash: &str) -> Self {
        let (server, site) = Server::with_page(PAGE);
        let url = format!("{}/index.html{hash}", server.origin());
        let page = Browser::start().open(&url).await;
        let handles = vec![page.session().window().await.expect("there is a window")];
        let mut tabs = Self { page, handles, _server: server, _site: site };
        while tabs.handles.len() < count {
            tabs.is_read().await;
            tabs.handles
                .push(tabs.page.session().new_tab().await.expect("the browser opens a tab"));
            tabs.show(tabs.handles.len() - 1).await;
            tabs.page.go(&url).await;
        }
        tabs.is_read().await;
        tabs
    }

    async fn is_read(&self) {
        self.page.until("isRead && Backwire.status.state === 'online'", "the list").await;
    }

    /// Makes a tab the current one.
    async fn show(&self, at: usize) -> &Page {
        self.page
            .session()
            .switch_to_window(self.handles[at].clone())
            .await
            .expect("the tab is open");
        &self.page
    }

    /// Returns the number of connections of each tab.
    async fn connections(&self) -> Vec<u64> {
        let mut all = Vec::new();
        for at in 0..self.handles.len() {
            all.push(
                self.show(at).await.value("connections()").await.as_u64().expect("it is a count"),
            );
        }
        all
    }

    async fn add(&self, at: usize, title: &str) {
        self.show(at).await.run(&format!("todos.create({{title: '{title}'}})")).await;
    }

    /// Waits until a tab shows these records and has no unanswered write.
    async fn shows(&self, at: usize, titles: &str) {
        let shown = format!("titles() === '{titles}' && !Backwire.pending().length");
        self.show(at).await.until(&shown, format!("{titles} in tab {at}")).await;
    }

    /// Each write was committed once.
    async fn are_stored(&self, at: usize, titles: &[&str]) {
        let stored = self.show(at).await.answer("read('/todo')").await;
        let mut stored: Vec<_> =
            stored.as_array().into_iter().flatten().filter_map(|it| it["title"].as_str()).collect();
        stored.sort_unstable();
        assert_eq!(stored, titles);
    }

    async fn set_state(&self, state: &str) {
        let tools = self.page.session().cdp();
        let state = json!({ "state": state });
        tools.send_raw("Page.setWebLifecycleState", state).await.expect("Chromium knows it");
    }
}

#[tokio::test]
async fn three_tabs_have_one_connection_and_get_the_changes_of_each_other() {
    let tabs = Tabs::open(3, "").await;
    assert_eq!(tabs.connections().await, [1, 0, 0]);
    tabs.add(2, "Milk").await;
    tabs.add(0, "Eggs").await;
    for at in 0..3 {
        tabs.shows(at, "Eggs,Milk").await;
    }
    assert_eq!(tabs.connections().await, [1, 0, 0]);
}

#[tokio::test]
async fn without_web_locks_each_tab_has_a_connection() {
    let tabs = Tabs::open(2, "#plain").await;
    assert_eq!(tabs.connections().await, [1, 1]);
    tabs.add(0, "Milk").await;
    tabs.shows(1, "Milk").await;
}

#[tokio::test]
async fn another_tab_leads_when_the_leader_is_closed() {
    let mut tabs = Tabs::open(3, "").await;
    tabs.add(1, "Milk").await;
    tabs.show(0).await.session().close_window().await.expect("there is a window");
    tabs.handles.remove(0);
    tabs.add(1, "Eggs").await;
    tabs.add(0, "Bread").await;
    for at in 0..2 {
        tabs.shows(at, "Bread,Eggs,Milk").await;
    }
    assert_eq!(tabs.connections().await.iter().sum::<u64>(), 1);
    tabs.are_stored(0, &["Bread", "Eggs", "Milk"]).await;
}

#[tokio::test]
async fn another_tab_leads_when_the_leader_is_frozen() {
    let tabs = Tabs::open(2, "").await;
    tabs.show(0).await;
    tabs.set_state("frozen").await;
    tabs.add(1, "Milk").await;
    tabs.shows(1, "Milk").await;
    assert_eq!(tabs.show(1).await.value("connections()").await, 1);
    tabs.show(0).await;
    tabs.set_state("active").await;
    tabs.shows(0, "Milk").await;
    assert_eq!(tabs.connections().await, [0, 1]);
}

#[tokio::test]
async fn another_tab_leads_when_the_leader_is_busy() {
    let tabs = Tabs::open(2, "").await;
    let busy = "setTimeout(() => { const end = Date.now() + 9000; while (Date.now() < end); })";
    tabs.show(0).await.run(busy).await;
    tabs.add(1, "Milk").await;
    // The leader may have sent the write before it was busy, but not its answer.
    tabs.page.until("connections() === 1", "a connection of the second tab").await;
    tabs.shows(1, "Milk").await;
    tabs.shows(0, "Milk").await;
    tabs.add(0, "Eggs").await;
    tabs.shows(1, "Eggs,Milk").await;
    assert_eq!(tabs.connections().await, [0, 1]);
    tabs.are_stored(0, &["Eggs", "Milk"]).await;
}
