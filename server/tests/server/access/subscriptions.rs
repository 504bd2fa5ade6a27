//! Subscriptions to records with access rules.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::routing::get;
use backwire::engine::{Engine, Error, Memory, Tail, Window};
use backwire::{Client, Context};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    model, note, notes, room_of, serve, sign_in, signed_in, status, texts, wait_for_pushes,
    with_sign_in, write,
};
use crate::browser::Browser;
use crate::client::{builder, position, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

#[tokio::test]
async fn subscription_receives_only_records_of_its_owner() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let (mut hers, mut his) = (ann.runtime(&server).await, bob.runtime(&server).await);
    let (to_her, to_him) = (room_of(&hers.get("/note").await), room_of(&his.get("/note").await));
    note(&mut ann, "Milk").await;
    note(&mut bob, "Beer").await;
    assert_eq!(hers.changes(&to_her, 1).await[0][3]["text"], "Milk");
    assert_eq!(his.changes(&to_him, 1).await[0][3]["text"], "Beer");
    wait_for_pushes(&server).await;
    assert!(hers.pushes().await.is_empty() && his.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn room_name_alone_does_not_grant_access() {
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
    wait_for_pushes(&server).await;
    assert!(his.pushes().await.is_empty() && nobody.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn selected_attributes_of_a_record_are_readable_only_by_its_owner() {
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
    wait_for_pushes(&server).await;
    assert!(his.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn record_with_a_new_owner_leaves_one_list_and_enters_the_other() {
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
    let push = stock_hers.event().await;
    assert_eq!((&push[1]["verb"], &push[1]["id"]), (&json!("destroyed"), &json!(milk)));
    assert_eq!(push[1]["previous"]["text"], "Milk");
    let push = stock_his.event().await;
    assert_eq!((&push[1]["verb"], &push[1]["data"]["text"]), (&json!("created"), &json!("Beer")));
    write(&mut editor, Method::PUT, &path, json!({ "text": "Ale" })).await;
    assert_eq!(stock_his.event().await[1]["verb"], "updated");
    wait_for_pushes(&server).await;
    for hers in [&mut stock_hers, &mut list, &mut one] {
        assert!(hers.pushes().await.is_empty());
    }
    server.shutdown().await;
}

#[tokio::test]
async fn sign_out_ends_the_subscriptions_and_notifies_the_clients() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let milk = note(&mut ann, "Milk").await;
    let (mut runtime, mut stock) = (ann.runtime(&server).await, ann.socket(&server).await);
    let room = room_of(&runtime.get("/note").await);
    stock.get("/note").await;
    assert_eq!(status(&mut ann, Method::DELETE, "/sign-in").await, 200);
    assert_eq!(runtime.event().await, json!(["push", room, 0, 0, []]));
    let gone = json!(["note", { "verb": "destroyed", "id": milk }]);
    assert_eq!(stock.event().await, gone);
    assert_eq!(runtime.ask(json!(["resume", [[room, 1, 0]]])).await, json!([[room, null]]));
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    // Another session of the same person continues to write.
    let mut elsewhere = signed_in(&server, "ann", &[]).await;
    note(&mut elsewhere, "Eggs").await;
    wait_for_pushes(&server).await;
    assert!(runtime.pushes().await.is_empty() && stock.pushes().await.is_empty());
    // After sign-in, a new connection works again.
    sign_in(&mut ann, "ann", &[]).await;
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    let mut runtime = ann.runtime(&server).await;
    assert_eq!(texts(&runtime.get("/note").await["body"]), ["Milk", "Eggs"]);
    server.shutdown().await;
}

#[tokio::test]
async fn caller_who_loses_a_role_keeps_own_records() {
    let server = serve().await;
    let mut ann = signed_in(&server, "ann", &["editor"]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let (hers, his) = (note(&mut ann, "Milk").await, note(&mut bob, "Beer").await);
    let (mut runtime, mut stock) = (ann.runtime(&server).await, ann.socket(&server).await);
    assert_eq!(room_of(&runtime.get("/note").await), "note");
    stock.get("/note").await;
    sign_in(&mut ann, "ann", &[]).await;
    assert_eq!(runtime.event().await, json!(["push", "note", 0, 0, []]));
    assert_eq!(runtime.ask(json!(["resume", [["note", 1, 0]]])).await, json!([["note", null]]));
    assert_eq!(texts(&runtime.get("/note").await["body"]), ["Milk"]);
    assert_eq!(stock.event().await, json!(["note", { "verb": "destroyed", "id": his }]));
    write(&mut bob, Method::PUT, &format!("/note/{his}"), json!({ "text": "Ale" })).await;
    write(&mut ann, Method::PUT, &format!("/note/{hers}"), json!({ "text": "Tea" })).await;
    let push = stock.event().await;
    assert_eq!((&push[1]["verb"], &push[1]["data"]["text"]), (&json!("updated"), &json!("Tea")));
    server.shutdown().await;
}

#[tokio::test]
async fn lost_access_to_one_side_of_a_many_to_many_ends_subscriptions_to_the_other() {
    let members = json!({ "read": { "role": "boss" }, "update": "everyone" });
    let user =
        model(json!({ "attributes": { "teams": { "collection": "team", "via": "members" } },
                             "access": members }));
    let team =
        model(json!({ "attributes": { "members": { "collection": "user", "via": "teams" } } }));
    let builder = with_sign_in(builder()).resource("user", user).unwrap();
    let server = start(builder.resource("team", team).unwrap()).await;
    let mut ann = signed_in(&server, "ann", &["boss"]).await;
    write(&mut ann, Method::POST, "/user", json!({ "name": "Bob" })).await;
    write(&mut ann, Method::POST, "/user/1/teams", json!({ "name": "Blue" })).await;
    let mut runtime = ann.runtime(&server).await;
    let read = runtime.get("/user/1/teams").await;
    assert_eq!(read["body"].as_array().unwrap().len(), 1);
    let room = room_of(&read);
    sign_in(&mut ann, "ann", &[]).await;
    assert_eq!(runtime.event().await, json!(["push", room, 0, 0, []]));
    let (epoch, offset) = position(&read);
    let resumed = runtime.ask(json!(["resume", [[room, epoch, offset]]])).await;
    assert_eq!(resumed, json!([[room, null]]));
    assert_eq!(runtime.get("/user/1/teams").await["statusCode"], 403);
    let mut boss = signed_in(&server, "eve", &["boss"]).await;
    write(&mut boss, Method::PUT, "/team/1", json!({ "name": "Red" })).await;
    write(&mut boss, Method::POST, "/user/1/teams", json!({ "name": "Green" })).await;
    wait_for_pushes(&server).await;
    assert!(runtime.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn expired_session_ends_its_subscriptions() {
    let server = with_sign_in(builder()).session_age(Duration::from_secs(1));
    let server = start(server.resource("note", notes()).unwrap()).await;
    let ann = signed_in(&server, "ann", &[]).await;
    let mut runtime = ann.runtime(&server).await;
    let room = room_of(&runtime.get("/note").await);
    assert_eq!(runtime.event().await, json!(["push", room, 0, 0, []]));
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    server.shutdown().await;
}

#[tokio::test]
async fn published_events_reach_only_callers_who_may_read_the_record() {
    let server = serve().await;
    let (ann, bob) = (signed_in(&server, "ann", &[]).await, signed_in(&server, "bob", &[]).await);
    let (mut hers, mut his) = (ann.runtime(&server).await, bob.runtime(&server).await);
    let to_her = room_of(&hers.get("/note").await);
    his.get("/note").await;
    let (mut stock_hers, mut stock_his) = (ann.socket(&server).await, bob.socket(&server).await);
    stock_hers.get("/note").await;
    stock_his.get("/note").await;
    let notes = server.publisher().pubsub("note").unwrap();
    let attributes = json!({ "userId": "ann", "text": "Milk" });
    notes.publish_create(with_id(&attributes, "n1"), None).await.unwrap();
    notes.publish_update("n1", attributes, None).await.unwrap();
    notes.publish_update("n1", json!({ "text": "whose?" }), None).await.unwrap();
    let changes = hers.changes(&to_her, 2).await;
    assert_eq!((&changes[0][1], &changes[1][1]), (&json!(1), &json!(2)));
    assert_eq!(stock_hers.event().await[1]["verb"], "created");
    wait_for_pushes(&server).await;
    assert!(his.pushes().await.is_empty() && stock_his.pushes().await.is_empty());
    server.shutdown().await;
}

/// Returns a memory engine whose changes reach the server only with permits.
fn engine_with_gated_tail(
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
async fn new_owner_does_not_receive_earlier_states_of_a_record() {
    let through = Arc::new(Semaphore::new(0));
    let server = with_sign_in(builder().engine(engine_with_gated_tail(&through)))
        .resource("note", notes())
        .unwrap();
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
    // The server pushes none of the following changes before Cyd reads the notes that she owns by
    // then.
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
    wait_for_pushes(&server).await;
    for hers in [&mut list, &mut one] {
        let pushes = hers.pushes().await;
        assert!(pushes.iter().all(|frame| !frame.contains("Secret")), "{pushes:?}");
        assert!(pushes.iter().any(|frame| frame.contains("Hers now")), "{pushes:?}");
        assert!(pushes.iter().any(|frame| frame.contains("destroyed")), "{pushes:?}");
    }
    // A caller who may read everything receives everything.
    for theirs in [&mut all_of_it, &mut one_of_it] {
        let pushes = theirs.pushes().await.join("\n");
        assert!(pushes.contains("Secret still") && pushes.contains("destroyed"), "{pushes}");
    }
    server.shutdown().await;
}

fn with_id(attributes: &Value, id: &str) -> Value {
    let mut record = attributes.clone();
    record["id"] = json!(id);
    record
}

/// Blocks the first read of a record after it is armed.
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
async fn record_created_while_a_role_is_lost_is_not_followed() {
    let gate = Arc::new(Gate::default());
    let server =
        with_sign_in(builder().engine(intercepted_by(&gate))).resource("note", notes()).unwrap();
    let server = start(server).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    // The server checks the records and the list in any order, so the list is rarely the first.
    for number in 0..30 {
        note(&mut bob, &format!("Note {number}")).await;
    }
    let mut ann = signed_in(&server, "ann", &["editor"]).await;
    let mut hers = ann.socket(&server).await;
    assert_eq!(hers.get("/note").await["body"].as_array().unwrap().len(), 30);
    let (reach, reached) = oneshot::channel();
    let (open, opened) = oneshot::channel();
    *gate.0.lock().unwrap() = Some((reach, opened));
    let losing = tokio::spawn(async move { sign_in(&mut ann, "ann", &[]).await });
    reached.await.unwrap();
    let beer = note(&mut bob, "Beer").await;
    wait_for_pushes(&server).await;
    open.send(()).unwrap();
    losing.await.unwrap();
    hers.pushes().await;
    let body = json!({ "text": "Wine" });
    assert_eq!(write(&mut bob, Method::PUT, &format!("/note/{beer}"), body).await.0, 200);
    wait_for_pushes(&server).await;
    assert_eq!(hers.pushes().await, [""; 0]);
    server.shutdown().await;
}

/// Blocks the first loaded session after it is armed.
#[derive(Default)]
struct SessionGate(Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>);

#[async_trait]
impl Interceptor for SessionGate {
    async fn after(&self, call: Call<'_>) {
        let armed = self.0.lock().unwrap().take_if(|_| matches!(call, Call::LoadSession));
        if let Some((reached, opened)) = armed {
            reached.send(()).unwrap();
            opened.await.unwrap();
        }
    }
}

#[tokio::test]
async fn request_in_flight_during_sign_out_is_refused() {
    let late = Arc::new(SessionGate::default());
    let server =
        with_sign_in(builder().engine(intercepted_by(&late))).resource("note", notes()).unwrap();
    let server = start(server).await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    note(&mut ann, "Milk").await;
    let mut runtime = ann.runtime(&server).await;
    let (reach, reached) = oneshot::channel();
    let (open, opened) = oneshot::channel();
    *late.0.lock().unwrap() = Some((reach, opened));
    let asking = tokio::spawn(async move {
        let status_code = runtime.get("/note").await["statusCode"].clone();
        (runtime, status_code)
    });
    reached.await.unwrap();
    assert_eq!(status(&mut ann, Method::DELETE, "/sign-in").await, 200);
    open.send(()).unwrap();
    let (mut runtime, status_code) = asking.await.unwrap();
    assert_eq!(status_code, 401);
    assert_eq!(runtime.get("/note").await["statusCode"], 401);
    server.shutdown().await;
}

/// As the guide says: it reads again, or its server ends its connection.
#[tokio::test]
async fn stock_client_with_new_rights_follows_more_when_it_reads_again() {
    let rights = get(async |cx: Context| {
        cx.publisher().clients().iter().for_each(Client::disconnect);
    });
    let server = with_sign_in(builder()).resource("note", notes()).unwrap();
    let server = start(server.route("/rights", rights)).await;
    let mut ann = signed_in(&server, "ann", &[]).await;
    let mut bob = signed_in(&server, "bob", &[]).await;
    let mut stock = bob.socket(&server).await;
    assert_eq!(texts(&stock.get("/note").await["body"]), [""; 0]);
    note(&mut ann, "Milk").await;
    sign_in(&mut bob, "bob", &["editor"]).await;
    note(&mut ann, "Eggs").await;
    wait_for_pushes(&server).await;
    assert!(stock.pushes().await.is_empty());
    assert_eq!(texts(&stock.get("/note").await["body"]).len(), 2);
    note(&mut ann, "Bread").await;
    assert_eq!(stock.event().await[1]["data"]["text"], "Bread");
    assert_eq!(status(&mut ann, Method::GET, "/rights").await, 200);
    stock.wait_for_close().await;
    server.shutdown().await;
}
