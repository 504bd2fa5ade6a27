//! What a person sees of a refusal.

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

/// A page with one todo, whose form has a title in it that is too long, and a server that knows.
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
async fn a_refusal_while_online_calls_error_and_leaves_the_form_and_the_model_alone() {
    let (site, browser) = (Site::new(), Browser::start());
    let server = server(&site);
    let page = too_long(&browser, &server).await;
    page.run("save()").await;
    page.until("told.includes('400 title')", "the refusal").await;
    assert_eq!(page.value("input.value").await, "Oat milk");
    assert_eq!(page.value("todos.at(0).get('title')").await, "Oat milk");
    // The person corrects it, and all is well.
    page.run("input.value = 'Oats'; told.length = 0; save()").await;
    page.until("told.includes('sync')", "the correction to be saved").await;
}

#[tokio::test]
async fn a_refusal_of_what_had_waited_offline_is_taken_back() {
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
