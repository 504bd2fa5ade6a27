//! Refusals as a person sees them.

use backwire_tests::{Browser, Page, Server, Site};

const PAGE: &str = r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script src="/backwire.js"></script>
    <input id="title">
    <script>
      const Todos = Backbone.Collection.extend({url: '/todo'});
      const todos = new Todos(), told = [];
      const input = document.querySelector('input');
      todos.fetch({success: () => todos.create({title: 'Milk'})});
      todos.on('sync', () => told.push('sync'));
      const save = () => todos.at(0).save({title: input.value}, {
        error: (model, xhr) => told.push(`${xhr.status} ${xhr.responseJSON.field}`)
      });
    </script>"#;

const CONFIG: &str = "resources: {todo: {attributes: {title: {max: 5}}}}";

/// Opens a page with one todo and a form with a title that the server refuses as too long.
async fn too_long(browser: &Browser, server: &Server) -> Page {
    let page = browser.open(&format!("{}/index.html", server.origin())).await;
    page.until("todos.length === 1 && todos.at(0).id", "the todo").await;
    page.run("input.value = 'Oat milk'").await;
    page
}

fn server(site: &Site) -> Server {
    site.write("index.html", PAGE);
    Server::declared(site.path(), CONFIG)
}

#[tokio::test]
async fn refusal_while_online_calls_error_and_keeps_form_and_model() {
    let (site, browser) = (Site::new(), Browser::start());
    let server = server(&site);
    let page = too_long(&browser, &server).await;
    page.run("save()").await;
    page.until("told.includes('400 title')", "the refusal").await;
    assert_eq!(page.value("input.value").await, "Oat milk");
    assert_eq!(page.value("todos.at(0).get('title')").await, "Oat milk");
    // The person corrects the title, and the save succeeds.
    page.run("input.value = 'Oats'; told.length = 0; save()").await;
    page.until("told.includes('sync')", "the correction to be saved").await;
}

#[tokio::test]
async fn refused_offline_write_is_reverted() {
    let (site, browser) = (Site::new(), Browser::start());
    let server = server(&site);
    let page = too_long(&browser, &server).await;
    page.run("Backwire.disconnect(); save()").await;
    assert_eq!(page.value("todos.at(0).get('title')").await, "Oat milk");
    page.run("Backwire.connect()").await;
    page.until("told.includes('400 title')", "the refusal").await;
    page.until("todos.at(0).get('title') === 'Milk'", "the title that the server has").await;
    assert_eq!(page.value("input.value").await, "Oat milk");
}
