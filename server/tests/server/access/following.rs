//! What is heard, and by whom no more.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backwire::engine::{Engine, Error, Memory, Tail, Window};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    all_is_said, door, enter, model, note, notes, room_of, serve, signed_in, status, texts, write,
};
use crate::browser::Browser;
use crate::client::{builder, position, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

#[tokio::test]
async fn a_subscription_hears_of_its_owners_records_and_of_no_others() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let (mut hers, mut his) = (ann.runtime(&server).await, bob.runtime(&server).await);
    let (to_her, to_him) = (room_of(&hers.get("/note").await), room_of(&his.get("/note").await));
    note(&mut ann, "Milk").await;
    note(&mut bob, "Beer").await;
    assert_eq!(hers.changes(&to_her, 1).await[0][3]["text"], "Milk");
    assert_eq!(his.changes(&to_him, 1).await[0][3]["text"], "Beer");
    all_is_said(&server).await;
    assert!(hers.heard().await.is_empty() && his.heard().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn nobody_gets_into_a_room_by_knowing_its_name() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let bob = signed_in(&server, "bob", &[]).await;
    let milk = note(&mut ann, "Milk").await;
    let mut hers = ann.runtime(&server).await;
    let one = hers.get(&format!("/note/{milk}")).await;
    let list = hers.get("/note").await;
    let part = hers.get("/note?limit=3").await;
    let mut his = bob.runtime(&server).await;
    let mut nobody = Browser::new(&server).runtime(&server).await;
    let rooms = [&one, &list, &part].map(room_of);
    let others = ["note".to_owned(), format!("note/{milk}"), "note?{\"All\":[]}".to_owned()];
    for room in rooms.into_iter().chain(others) {
        let ask = json!(["resume", [[room, 1, 0]]]);
        for stranger in [&mut his, &mut nobody] {
            assert_eq!(stranger.ask(ask.clone()).await, json!([[room, null]]), "{room}");
        }
    }
    write(&mut ann, Method::PUT, &format!("/note/{milk}"), json!({ "text": "Eggs" })).await;
    note(&mut ann, "Bread").await;
    all_is_said(&server).await;
    assert!(his.heard().await.is_empty() && nobody.heard().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn a_part_of_a_record_is_read_and_followed_by_its_owner_alone() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let bob = signed_in(&server, "bob", &[]).await;
    let path = format!("/note/{}", note(&mut ann, "Milk").await);
    let part = format!("{path}?select=text");
    let (mut hers, mut his) = (ann.runtime(&server).await, bob.runtime(&server).await);
    let room = room_of(&hers.get(&part).await);
    assert_eq!(his.get(&part).await["statusCode"], 404);
    assert_eq!(his.ask(json!(["resume", [[room, 1, 0]]])).await, json!([[room, null]]));
    write(&mut ann, Method::PUT, &path, json!({ "text": "Eggs" })).await;
    assert_eq!(hers.event().await[1], json!(room));
    write(&mut ann, Method::DELETE, &path, json!({})).await;
    assert_eq!(hers.event().await[1], json!(room));
    assert_eq!(hers.get(&part).await["statusCode"], 404);
    all_is_said(&server).await;
    assert!(his.heard().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn a_record_that_changes_hands_leaves_one_list_and_enters_the_other() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let bob = signed_in(&server, "bob", &[]).await;
    let mut editor = signed_in(&server, "eve", &["editor"]).await;
    let milk = note(&mut ann, "Milk").await;
    let path = format!("/note/{milk}");
    let (mut list, mut one) = (ann.runtime(&server).await, ann.runtime(&server).await);
    let (of_list, of_one) = (room_of(&list.get("/note").await), room_of(&one.get(&path).await));
    let mut his = bob.runtime(&server).await;
    let of_his = room_of(&his.get("/note").await);
    let (mut stock_hers, mut stock_his) = (ann.socket(&server).await, bob.socket(&server).await);
    stock_hers.get("/note").await;
    stock_his.get("/note").await;
    let given = json!({ "userId": "bob", "text": "Beer" });
    assert_eq!(write(&mut editor, Method::PUT, &path, given).await.0, 200);
    assert_eq!(list.changes(&of_list, 1).await[0][1], 4);
    assert_eq!(one.changes(&of_one, 1).await[0][1], 3);
    let entered = &his.changes(&of_his, 1).await[0];
    assert_eq!((&entered[1], &entered[3]["text"]), (&json!(1), &json!("Beer")));
    let told = stock_hers.event().await;
    assert_eq!((&told[1]["verb"], &told[1]["id"]), (&json!("destroyed"), &json!(milk)));
    assert_eq!(told[1]["previous"]["text"], "Milk");
    let told = stock_his.event().await;
    assert_eq!((&told[1]["verb"], &told[1]["data"]["text"]), (&json!("created"), &json!("Beer")));
    write(&mut editor, Method::PUT, &path, json!({ "text": "Ale" })).await;
    assert_eq!(stock_his.event().await[1]["verb"], "updated");
    all_is_said(&server).await;
    for hers in [&mut stock_hers, &mut list, &mut one] {
        assert!(hers.heard().await.is_empty());
    }
    server.shutdown().await;
}

#[tokio::test]
async fn who_signs_out_hears_no_more_and_finds_out() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let milk = note(&mut ann, "Milk").await;
    let (mut runtime, mut stock) = (ann.runtime(&server).await, ann.socket(&server).await);
    let room = room_of(&runtime.get("/note").await);
    stock.get("/note").await;
    assert_eq!(status(&mut ann, Method::DELETE, "/door").await, 200);
    assert_eq!(runtime.event().await, json!(["push", room, 0, 0, []]));
    let gone = json!(["note", { "verb": "destroyed", "id": milk }]);
    assert_eq!(stock.event().await, gone);
    assert_eq!(runtime.ask(json!(["resume", [[room, 1, 0]]])).await, json!([[room, null]]));
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    // The same person elsewhere goes on writing.
    let mut elsewhere = signed_in(&server, "ann", &[]).await;
    note(&mut elsewhere, "Eggs").await;
    all_is_said(&server).await;
    assert!(runtime.heard().await.is_empty() && stock.heard().await.is_empty());
    // And back in, by a new connection.
    enter(&mut ann, "ann", &[]).await;
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    let mut runtime = ann.runtime(&server).await;
    assert_eq!(texts(&runtime.get("/note").await["body"]), ["Milk", "Eggs"]);
    server.shutdown().await;
}

#[tokio::test]
async fn who_loses_a_role_keeps_what_is_theirs() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &["editor"]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let (hers, his) = (note(&mut ann, "Milk").await, note(&mut bob, "Beer").await);
    let (mut runtime, mut stock) = (ann.runtime(&server).await, ann.socket(&server).await);
    assert_eq!(room_of(&runtime.get("/note").await), "note");
    stock.get("/note").await;
    enter(&mut ann, "ann", &[]).await;
    assert_eq!(runtime.event().await, json!(["push", "note", 0, 0, []]));
    assert_eq!(runtime.ask(json!(["resume", [["note", 1, 0]]])).await, json!([["note", null]]));
    assert_eq!(texts(&runtime.get("/note").await["body"]), ["Milk"]);
    assert_eq!(stock.event().await, json!(["note", { "verb": "destroyed", "id": his }]));
    write(&mut bob, Method::PUT, &format!("/note/{his}"), json!({ "text": "Ale" })).await;
    write(&mut ann, Method::PUT, &format!("/note/{hers}"), json!({ "text": "Tea" })).await;
    let told = stock.event().await;
    assert_eq!((&told[1]["verb"], &told[1]["data"]["text"]), (&json!("updated"), &json!("Tea")));
    server.shutdown().await;
}

#[tokio::test]
async fn who_may_read_one_side_of_a_many_to_many_no_more_follows_the_other_no_more() {
    let members = json!({ "read": { "role": "boss" }, "update": "everyone" });
    let user =
        model(json!({ "attributes": { "teams": { "collection": "team", "via": "members" } },
                             "access": members }));
    let team =
        model(json!({ "attributes": { "members": { "collection": "user", "via": "teams" } } }));
    let builder = door(builder()).resource("user", user).unwrap();
    let server = start(builder.resource("team", team).unwrap()).await;
    let mut ann = signed_in(&server, "ann", &["boss"]).await;
    write(&mut ann, Method::POST, "/user", json!({ "name": "Bob" })).await;
    write(&mut ann, Method::POST, "/user/1/teams", json!({ "name": "Blue" })).await;
    let mut runtime = ann.runtime(&server).await;
    let read = runtime.get("/user/1/teams").await;
    assert_eq!(read["body"].as_array().unwrap().len(), 1);
    let room = room_of(&read);
    enter(&mut ann, "ann", &[]).await;
    assert_eq!(runtime.event().await, json!(["push", room, 0, 0, []]));
    let (epoch, offset) = position(&read);
    let resumed = runtime.ask(json!(["resume", [[room, epoch, offset]]])).await;
    assert_eq!(resumed, json!([[room, null]]));
    assert_eq!(runtime.get("/user/1/teams").await["statusCode"], 403);
    let mut boss = signed_in(&server, "eve", &["boss"]).await;
    write(&mut boss, Method::PUT, "/team/1", json!({ "name": "Red" })).await;
    write(&mut boss, Method::POST, "/user/1/teams", json!({ "name": "Green" })).await;
    all_is_said(&server).await;
    assert!(runtime.heard().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn a_session_that_ends_by_itself_ends_subscriptions_too() {
    let server = door(builder()).session_age(Duration::from_secs(1));
    let server = start(server.resource("note", notes()).unwrap()).await;
    let ann = signed_in(&server, "ann", &[]).await;
    let mut runtime = ann.runtime(&server).await;
    let room = room_of(&runtime.get("/note").await);
    assert_eq!(runtime.event().await, json!(["push", room, 0, 0, []]));
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_published_of_a_hidden_record_is_for_who_may_read_it() {
    let server = serve().await;
    let (ann, bob) = (signed_in(&server, "ann", &[]).await, signed_in(&server, "bob", &[]).await);
    let (mut hers, mut his) = (ann.runtime(&server).await, bob.runtime(&server).await);
    let to_her = room_of(&hers.get("/note").await);
    his.get("/note").await;
    let (mut stock_hers, mut stock_his) = (ann.socket(&server).await, bob.socket(&server).await);
    stock_hers.get("/note").await;
    stock_his.get("/note").await;
    let notes = server.publisher().pubsub("note").unwrap();
    let told = json!({ "userId": "ann", "text": "Milk" });
    notes.publish_create(told_with(&told, "n1"), None).await.unwrap();
    notes.publish_update("n1", told, None).await.unwrap();
    notes.publish_update("n1", json!({ "text": "whose?" }), None).await.unwrap();
    let changes = hers.changes(&to_her, 2).await;
    assert_eq!((&changes[0][1], &changes[1][1]), (&json!(1), &json!(2)));
    assert_eq!(stock_hers.event().await[1]["verb"], "created");
    all_is_said(&server).await;
    assert!(his.heard().await.is_empty() && stock_his.heard().await.is_empty());
    server.shutdown().await;
}

/// Keeps everything in memory, and lets the server say of it what is let through.
fn hesitant(
    through: &Arc<Semaphore>,
) -> impl FnOnce(Tail) -> Result<Arc<dyn Engine>, Error> + use<> {
    let through = Arc::clone(through);
    |tail| {
        let (held, mut changes) = mpsc::channel(1024);
        tokio::spawn(async move {
            while let Some(change) = changes.recv().await {
                through.acquire().await.unwrap().forget();
                tail.send(change).await.unwrap();
            }
        });
        Ok(Arc::new(Memory::new(Window::default(), held)))
    }
}

#[tokio::test]
async fn who_is_given_a_record_is_not_told_what_it_was_before_that() {
    let through = Arc::new(Semaphore::new(0));
    let server = door(builder().engine(hesitant(&through))).resource("note", notes()).unwrap();
    let server = start(server).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let mut editor = signed_in(&server, "eve", &["editor"]).await;
    let cyd = signed_in(&server, "cyd", &[]).await;
    let (milk, eggs) = (note(&mut bob, "Secret").await, note(&mut bob, "Secret").await);
    let [milk, eggs] = [milk, eggs].map(|id| format!("/note/{id}"));
    through.add_permits(2);
    let mut all_of_it = editor.socket(&server).await;
    let mut one_of_it = editor.socket(&server).await;
    all_of_it.get("/note").await;
    one_of_it.get(&milk).await;
    // Of nothing that happens from here on has anybody been told, when she reads what is hers by then.
    for path in [&milk, &eggs] {
        write(&mut bob, Method::PUT, path, json!({ "text": "Secret still" })).await;
        write(&mut editor, Method::PUT, path, json!({ "userId": "cyd", "text": "Hers" })).await;
    }
    let (mut list, mut one) = (cyd.socket(&server).await, cyd.socket(&server).await);
    assert_eq!(texts(&list.get("/note").await["body"]), ["Hers", "Hers"]);
    assert_eq!(one.get(&milk).await["body"]["text"], "Hers");
    through.add_permits(1024);
    write(&mut editor, Method::PUT, &milk, json!({ "text": "Hers now" })).await;
    assert_eq!(status(&mut editor, Method::DELETE, &milk).await, 200);
    all_is_said(&server).await;
    for hers in [&mut list, &mut one] {
        let heard = hers.heard().await;
        assert!(heard.iter().all(|frame| !frame.contains("Secret")), "{heard:?}");
        assert!(heard.iter().any(|frame| frame.contains("Hers now")), "{heard:?}");
        assert!(heard.iter().any(|frame| frame.contains("destroyed")), "{heard:?}");
    }
    // Who may read everything hears of everything.
    for theirs in [&mut all_of_it, &mut one_of_it] {
        let heard = theirs.heard().await.join("\n");
        assert!(heard.contains("Secret still") && heard.contains("destroyed"), "{heard}");
    }
    server.shutdown().await;
}

fn told_with(told: &Value, id: &str) -> Value {
    let mut told = told.clone();
    told["id"] = json!(id);
    told
}

/// Holds up the first reading of a record after it is armed.
#[derive(Default)]
struct Gate(Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>);

#[async_trait]
impl Interceptor for Gate {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        if let Call::FindOne = call {
            let armed = self.0.lock().unwrap().take();
            if let Some((reached, opened)) = armed {
                reached.send(()).unwrap();
                opened.await.unwrap();
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_appears_while_a_role_is_lost_is_not_followed_either() {
    let gate = Arc::new(Gate::default());
    let server = door(builder().engine(intercepted_by(&gate))).resource("note", notes()).unwrap();
    let server = start(server).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    // She is asked of them and of the list in any order: it is hardly the first.
    for number in 0..30 {
        note(&mut bob, &format!("Note {number}")).await;
    }
    let mut ann = signed_in(&server, "ann", &["editor"]).await;
    let mut hers = ann.socket(&server).await;
    assert_eq!(hers.get("/note").await["body"].as_array().unwrap().len(), 30);
    let (reach, reached) = oneshot::channel();
    let (open, opened) = oneshot::channel();
    *gate.0.lock().unwrap() = Some((reach, opened));
    let losing = tokio::spawn(async move { enter(&mut ann, "ann", &[]).await });
    reached.await.unwrap();
    let beer = note(&mut bob, "Beer").await;
    all_is_said(&server).await;
    open.send(()).unwrap();
    losing.await.unwrap();
    hers.heard().await;
    let body = json!({ "text": "Wine" });
    assert_eq!(write(&mut bob, Method::PUT, &format!("/note/{beer}"), body).await.0, 200);
    all_is_said(&server).await;
    assert_eq!(hers.heard().await, [""; 0]);
    server.shutdown().await;
}

/// Holds up the first answer about a session after it is armed.
#[derive(Default)]
struct Late(Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>);

#[async_trait]
impl Interceptor for Late {
    async fn after(&self, call: Call<'_>) {
        let armed = self.0.lock().unwrap().take_if(|_| matches!(call, Call::LoadSession));
        if let Some((reached, opened)) = armed {
            reached.send(()).unwrap();
            opened.await.unwrap();
        }
    }
}

#[tokio::test]
async fn who_signs_out_while_a_socket_asks_is_not_taken_for_who_they_were() {
    let late = Arc::new(Late::default());
    let server = door(builder().engine(intercepted_by(&late))).resource("note", notes()).unwrap();
    let server = start(server).await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    note(&mut ann, "Milk").await;
    let mut runtime = ann.runtime(&server).await;
    let (reach, reached) = oneshot::channel();
    let (open, opened) = oneshot::channel();
    *late.0.lock().unwrap() = Some((reach, opened));
    let asking = tokio::spawn(async move {
        let told = runtime.get("/note").await["statusCode"].clone();
        (runtime, told)
    });
    reached.await.unwrap();
    assert_eq!(status(&mut ann, Method::DELETE, "/door").await, 200);
    open.send(()).unwrap();
    let (mut runtime, told) = asking.await.unwrap();
    assert_eq!(told, 401);
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    server.shutdown().await;
}
