//! Filtered lists.

use backwire_tests::{Browser, Page, Server};

const PAGE: &str = r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script src="/backwire.js"></script>
    <script>
      const Todos = Backbone.Collection.extend({url: '/todo'});
      const all = new Todos(), open = new Todos(), first = new Todos(), events = [];
      const done = [];
      all.fetch({success: () => done.push('all')});
      open.fetch({data: {where: {done: false}}, success: () => done.push('open')});
      first.comparator = 'title';
      first.fetch({data: {sort: 'title', limit: 1}, success: () => done.push('first')});
      open.on('add remove', (model, collection, {add}) => events.push((add ? '+' : '-') + model.get('title')));
      all.on('destroy', model => events.push('destroyed ' + model.get('title')));
      const titles = list => list.pluck('title').join();
    </script>"#;

async fn shows(page: &Page, list: &str, titles: &str) {
    page.until(&format!("titles({list}) === '{titles}'"), format!("{list} to be {titles:?}")).await;
}

#[tokio::test]
async fn todos_enter_and_leave_filtered_and_limited_lists() {
    let (server, _site) = Server::with_page(PAGE);
    let browser = Browser::start();
    let url = format!("{}/index.html", server.origin());
    let (a, b) = tokio::join!(browser.open(&url), browser.open(&url));
    for page in [&a, &b] {
        page.until("done.length === 3", "all lists").await;
    }
    a.run("all.create({title: 'Milk', done: true}); all.create({title: 'Eggs', done: false})")
        .await;
    for page in [&a, &b] {
        shows(page, "all", "Milk,Eggs").await;
        shows(page, "open", "Eggs").await;
        shows(page, "first", "Eggs").await;
    }
    a.run("all.create({title: 'Bread', done: true})").await;
    for page in [&a, &b] {
        shows(page, "first", "Bread").await;
    }
    a.run("all.at(2).destroy({wait: true})").await;
    for page in [&a, &b] {
        shows(page, "first", "Eggs").await;
    }
    a.run("all.at(0).save({done: false}); all.at(1).save({done: true})").await;
    for page in [&a, &b] {
        shows(page, "open", "Milk").await;
    }
    b.run("Backwire.disconnect()").await;
    a.run("all.at(1).save({done: false}); all.at(0).destroy({wait: true})").await;
    shows(&a, "all", "Eggs").await;
    shows(&b, "open", "Milk").await;
    b.run("Backwire.connect()").await;
    shows(&b, "open", "Eggs").await;
    shows(&b, "all", "Eggs").await;
    // Each event occurs once. For each push, a list removes records before it adds others.
    let of_each = "['Milk', 'Eggs', 'Bread'].map(title => \
                   events.filter(event => event.endsWith(title)).join()).join('; ')";
    let events = "+Milk,destroyed Milk,-Milk; +Eggs,-Eggs,+Eggs; destroyed Bread";
    assert_eq!(b.value(of_each).await, events);
}
