//! Lists that the page no longer references.

use backwire_tests::{Browser, Server};

const PAGE: &str = r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script>
      const sent = [], heard = [];
      WebSocket = class extends WebSocket {
        constructor(...args) {
          super(...args);
          this.addEventListener('message', ({data}) => heard.push(data));
        }
        send(frame) {
          sent.push(frame);
          super.send(frame);
        }
      };
    </script>
    <script src="/backwire.js"></script>
    <script>
      const Todos = Backbone.Collection.extend({url: '/todo'});
      const Notes = Backbone.Collection.extend({url: '/note'});
      const notes = new Notes();
      let todos = new Todos(), read = 0;
      const trace = new WeakRef(todos);
      notes.fetch({success: () => { read += 1; }});
      todos.fetch({success: () => { read += 1; }});
      const has = (frames, text) => frames.some(frame => frame.includes(text));
      const isGone = () => {
        gc({type: 'major', execution: 'async'});
        return trace.deref() === undefined && has(sent, '["unsubscribe","todo"]');
      };
    </script>"#;

#[tokio::test]
async fn garbage_collected_list_is_unsubscribed_and_referenced_list_is_not() {
    let (server, _site) = Server::with_page(PAGE);
    let browser = Browser::start();
    let url = format!("{}/index.html", server.origin());
    let (a, b) = tokio::join!(browser.open(&url), browser.open(&url));
    for page in [&a, &b] {
        page.until("read === 2", "both lists").await;
    }
    b.run("todos.create({title: 'Milk'}); notes.create({title: 'Call Ada'})").await;
    a.until("todos.length === 1 && notes.length === 1", "both records").await;
    a.run("todos = null").await;
    a.until("isGone()", "the list to be gone").await;
    b.run("todos.create({title: 'Eggs'}); notes.create({title: 'Call Bob'})").await;
    a.until("notes.length === 2", "the note").await;
    // A push for the other list would have arrived before this one.
    assert_eq!(a.value("has(heard, 'Milk') && !has(heard, 'Eggs')").await, true);
    a.run("Backwire.disconnect(); Backwire.connect()").await;
    b.run("notes.create({title: 'Call Cem'})").await;
    a.until("notes.length === 3", "the note after the reconnect").await;
    let resumed = r#"has(sent, '["resume",[["note"') && !has(heard, 'Eggs')"#;
    assert_eq!(a.value(resumed).await, true);
    a.run("gc()").await;
    b.run("todos.last().destroy(); notes.first().destroy()").await;
    a.until("notes.length === 2", "the note to go").await;
}
