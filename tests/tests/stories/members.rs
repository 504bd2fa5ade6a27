//! Lists of a many-to-many association.

use backwire_tests::{Browser, Page, Server, Site};

const CONFIG: &str = "
resources:
  user: {attributes: {teams: {collection: team, via: members}}}
  team: {attributes: {members: {collection: user, via: teams}}}
";

const PAGE: &str = r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script src="/backwire.js"></script>
    <script>
      const list = url => new (Backbone.Collection.extend({url}))();
      const users = list('/user'), all = list('/team'), teams = list('/user/1/teams'), events = [];
      let done = 0;
      teams.on('add', team => events.push('+' + team.get('name')));
      teams.on('remove', team => events.push('-' + team.get('name')));
      const names = list => list.pluck('name').sort().join();
      const named = name => teams.findWhere({name});
      const ask = (method, url) => fetch(url, {method});
    </script>"#;

async fn show(pages: [&Page; 2], names: &str) {
    for page in pages {
        page.until(&format!("names(teams) === '{names}'"), format!("the teams to be {names:?}"))
            .await;
    }
}

#[tokio::test]
async fn teams_enter_and_leave_the_list_of_a_member_and_change_in_it() {
    let site = Site::new();
    site.write("index.html", PAGE);
    let server = Server::declared(site.path(), CONFIG);
    let browser = Browser::start();
    let url = format!("{}/index.html", server.origin());
    let (a, b) = tokio::join!(browser.open(&url), browser.open(&url));
    a.run("users.create({name: 'Ann'}); all.create({name: 'Blue'}); all.create({name: 'Red'})")
        .await;
    a.until("users.at(0).id === 1 && all.pluck('id').join() === '1,2'", "a user and two teams")
        .await;
    for page in [&a, &b] {
        page.run("teams.fetch({success: () => { done += 1; }})").await;
        page.until("done === 1", "the teams").await;
    }
    a.run("ask('PUT', '/user/1/teams/1')").await;
    show([&a, &b], "Blue").await;
    a.run("all.get(1).save({name: 'Navy'})").await;
    show([&a, &b], "Navy").await;
    b.run("teams.create({name: 'Green'})").await;
    show([&a, &b], "Green,Navy").await;
    a.run("named('Green').save({name: 'Lime'})").await;
    show([&a, &b], "Lime,Navy").await;
    a.run("ask('DELETE', '/team/1/members/1')").await;
    show([&a, &b], "Lime").await;
    b.run("Backwire.disconnect()").await;
    a.run("ask('PUT', '/user/1/teams/2')").await;
    show([&a, &a], "Lime,Red").await;
    b.run("Backwire.connect()").await;
    show([&a, &b], "Lime,Red").await;
    b.run("named('Lime').destroy()").await;
    show([&a, &b], "Red").await;
    a.run("ask('DELETE', '/user/1')").await;
    show([&a, &b], "").await;
    assert_eq!(a.value("events.join()").await, "+Blue,+Green,-Navy,+Red,-Lime,-Red");
}
