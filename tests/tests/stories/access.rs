//! Users who may not read everything.

use backwire::settings::Store;
use backwire_tests::{Browser, Page, Server, Site};

#[allow(dead_code, reason = "its main function is for people")]
#[path = "../../../server/examples/access.rs"]
mod example;

/// Returns a page whose records are on another server on the same host. The server of the pages has
/// no sign-in.
fn page(server: &str) -> String {
    format!(
        r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script src="/backwire.js" data-url="{server}"></script>
    <script>
      const Notes = Backbone.Collection.extend({{url: '{server}/note'}});
      const notes = new Notes(), events = [], one = new Backbone.Model;
      let done = 0;
      notes.on('add remove', (note, list, {{add}}) => events.push((add ? '+' : '-') + note.get('text')));
      one.on('destroy', () => events.push('gone'));
      const login = (method, query) =>
        fetch('{server}/login?' + query, {{method, credentials: 'include'}}).then(() => {{ done += 1; }});
      const texts = () => notes.pluck('text').sort().join();
    </script>"#
    )
}

async fn sign_in(page: &Page, credentials: &str) {
    page.run(&format!("done = 0; login('POST', '{credentials}')")).await;
    page.until("done === 1", "the sign-in".to_owned()).await;
    page.run("Backwire.disconnect(); Backwire.connect(); notes.fetch()").await;
}

async fn shows(page: &Page, texts: &str) {
    page.until(&format!("texts() === '{texts}'"), format!("the notes to be {texts:?}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_only_notes_that_its_user_may_read() {
    let builder = example::routes(backwire::Server::builder()).expect("its rules are sound");
    let records = builder.port(0).store(Store::Memory).bind().await.expect("there is a free port");
    let site = Site::new();
    site.write("index.html", &page(&format!("http://{}", records.addr())));
    let pages = Server::with_pages(site.path());
    let browser = Browser::start();
    let url = format!("{}/index.html", pages.origin());
    let (ann, bob) = tokio::join!(browser.open(&url), browser.open(&url));
    let eve = browser.open(&url).await;
    sign_in(&ann, "person=ann").await;
    sign_in(&bob, "person=bob").await;
    sign_in(&eve, "person=eve&role=editor").await;
    ann.run("notes.create({text: 'Milk'}); notes.create({text: 'Eggs'})").await;
    bob.run("notes.create({text: 'Beer'})").await;
    shows(&ann, "Eggs,Milk").await;
    shows(&bob, "Beer").await;
    shows(&eve, "Beer,Eggs,Milk").await;
    let milk = "notes.findWhere({text: 'Milk'})";
    ann.run(&format!("one.urlRoot = notes.url; one.set('id', {milk}.id); one.fetch()")).await;
    ann.until("one.get('text')", "the one note".to_owned()).await;
    eve.run(&format!("{milk}.save({{userId: 'bob'}})")).await;
    shows(&ann, "Eggs").await;
    ann.until("events.includes('gone')", "the one note to be gone".to_owned()).await;
    shows(&bob, "Beer,Milk").await;
    eve.run("login('POST', 'person=eve')").await;
    shows(&eve, "").await;
    ann.run("login('DELETE')").await;
    shows(&ann, "").await;
    let events = ann.value("events.join()").await;
    assert_eq!(events, "+Milk,+Eggs,-Milk,gone,-Eggs");
    records.shutdown().await;
}
