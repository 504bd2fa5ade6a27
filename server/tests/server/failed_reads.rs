//! A read that fails does not subscribe, and takes no subscription away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::routing::{MethodRouter, get};
use backwire::change::Attributes;
use backwire::engine::Error;
use backwire::model::{Attribute, Model};
use backwire::{Context, Server};
use serde_json::json;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::client::{Socket, builder, refusal, socket_of, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

/// Lets some reads pass, and then refuses or blocks some.
#[derive(Default)]
struct Reads {
    passed: AtomicUsize,
    refused: AtomicUsize,
    blocked: AtomicUsize,
    /// Notified when a read is blocked.
    is_blocked: Notify,
    may_go_on: Notify,
}

impl Reads {
    fn next(counter: &AtomicUsize) -> bool {
        counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
    }
}

#[async_trait]
impl Interceptor for Reads {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        if !matches!(call, Call::Find | Call::FindOne) {
            return Ok(());
        }
        if Self::next(&self.passed) {
            return Ok(());
        }
        let is_refused = Self::next(&self.refused);
        if Self::next(&self.blocked) {
            self.is_blocked.notify_one();
            self.may_go_on.notified().await;
        }
        match is_refused {
            true => Err(Error::Unavailable("the disk is busy".to_owned())),
            false => Ok(()),
        }
    }
}

type Rooms = UnboundedReceiver<Vec<String>>;

fn rooms_handler() -> (MethodRouter, Rooms) {
    let (sender, receiver) = unbounded_channel();
    let rooms = async move |cx: Context| {
        let mut rooms = socket_of(&cx).rooms();
        rooms.sort();
        sender.send(rooms).unwrap();
    };
    (get(rooms), receiver)
}

/// Starts a server with two users who have pets (one to many) and teams (many to many), and with a
/// route that sends the rooms of its caller.
async fn filled(reads: &Arc<Reads>) -> (Server, Rooms) {
    let (rooms, receiver) = rooms_handler();
    let teams = Attribute { dominant: true, ..Attribute::collection("team", "members") };
    let pets = Attribute::collection("pet", "owner");
    let named = || Model::default().attribute("name", Attribute::default());
    let user = named().attribute("teams", teams).attribute("pets", pets);
    let pet = named().attribute("owner", Attribute::model("user"));
    let team = named().attribute("members", Attribute::collection("user", "teams"));
    let builder = builder().engine(intercepted_by(reads)).route("/rooms", rooms);
    let builder = builder.resource("user", user).unwrap().resource("pet", pet).unwrap();
    let server = start(builder.resource("team", team).unwrap()).await;
    let mut writer = Socket::runtime(&server).await;
    for name in ["Ann", "Bob"] {
        writer.post("/user", json!({ "name": name })).await;
    }
    for (path, data) in [
        ("/pet", json!({ "name": "Rex", "owner": 1 })),
        ("/team", json!({ "name": "Red", "members": [1, 2] })),
    ] {
        assert_eq!(writer.post(path, data).await["statusCode"], 201, "{path}");
    }
    (server, receiver)
}

async fn rooms(socket: &mut Socket, rooms: &mut Rooms) -> Vec<String> {
    socket.get("/rooms").await;
    rooms.recv().await.unwrap()
}

const READS: &[&str] = &[
    "/pet",
    "/pet?name=Rex",
    "/pet?sort=name&limit=1",
    "/pet/1",
    "/pet/1?select=name",
    "/pet?populate=owner",
    "/user/1?populate=pets",
    "/user/1/pets",
    "/user/1/teams",
    "/team/1/members",
    "/pet/1/owner",
];

/// Checks that a client is in the same rooms after a read of which any part failed.
async fn check_failed_reads(connect: impl AsyncFn(&Server) -> Socket) {
    let reads = Arc::new(Reads::default());
    let (server, mut receiver) = filled(&reads).await;
    for earlier in [&[][..], &["/pet/1"], &["/user", "/pet"]] {
        for url in READS {
            let mut socket = connect(&server).await;
            for url in earlier {
                assert_eq!(socket.get(url).await["statusCode"], 200, "{url}");
            }
            let before = rooms(&mut socket, &mut receiver).await;
            let mut passed = 0;
            loop {
                reads.passed.store(passed, Ordering::SeqCst);
                reads.refused.store(1, Ordering::SeqCst);
                let answer = socket.get(url).await;
                if reads.refused.swap(0, Ordering::SeqCst) > 0 {
                    assert_eq!(answer["statusCode"], 200, "{url}: {answer}");
                    break;
                }
                assert_eq!(answer["statusCode"], 503, "{url}: {answer}");
                let after = rooms(&mut socket, &mut receiver).await;
                assert_eq!(before, after, "{url} after {passed} reads of the store");
                passed += 1;
            }
            assert!(passed > 0, "{url} reads nothing");
        }
    }
    server.shutdown().await;
}

#[tokio::test]
async fn failed_read_does_not_subscribe() {
    check_failed_reads(Socket::runtime).await;
}

#[tokio::test]
async fn failed_read_does_not_subscribe_a_client_of_sails() {
    check_failed_reads(Socket::stock).await;
}

/// Starts a server whose pets are stored elsewhere. Reads of them do not wait for each other.
async fn with_pets_elsewhere(reads: &Arc<Reads>) -> (Server, Rooms) {
    let rex = || Attributes::from_iter([("id".to_owned(), json!(1))]);
    let (of_list, of_one) = (Arc::clone(reads), Arc::clone(reads));
    let list = async move |cx: Context| {
        let read = || async { of_list.before(Call::Find).await.map(|()| vec![rex()]) };
        cx.find_external("pet", async || Ok(read().await?)).await
    };
    let one = async move |cx: Context| {
        let read = async {
            of_one.before(Call::FindOne).await?;
            Ok(Some(rex()))
        };
        cx.find_one_external("pet", 1, read).await
    };
    let (rooms, receiver) = rooms_handler();
    let builder = builder().route("/rooms", rooms);
    let builder = builder.route("/all/pets", get(list)).route("/all/pets/1", get(one));
    (start(builder).await, receiver)
}

/// Checks that one of two reads of a room subscribes, although the other fails before or after it.
async fn check_two_reads(connect: impl AsyncFn(&Server) -> Socket) {
    let (list, one) = ("/all/pets", "/all/pets/1");
    for (url, first_fails) in [(list, true), (list, false), (one, true), (one, false)] {
        let reads = Arc::new(Reads::default());
        let (server, mut receiver) = with_pets_elsewhere(&reads).await;
        let mut reader = connect(&server).await;
        let before = rooms(&mut reader, &mut receiver).await;
        // The first read is blocked until the second is answered.
        reads.blocked.store(1, Ordering::SeqCst);
        reads.refused.store(usize::from(first_fails), Ordering::SeqCst);
        let first = reader.emit(&json!(["get", { "url": url }])).await;
        reads.is_blocked.notified().await;
        reads.refused.store(usize::from(!first_fails), Ordering::SeqCst);
        let second = reader.get(url).await;
        let meanwhile = rooms(&mut reader, &mut receiver).await;
        reads.may_go_on.notify_one();
        let first = reader.ack(first).await;
        let statuses = json!([first["statusCode"], second["statusCode"]]);
        assert_eq!(statuses, if first_fails { json!([503, 200]) } else { json!([200, 503]) });
        let after = rooms(&mut reader, &mut receiver).await;
        assert!(after.len() > before.len(), "{url} {first_fails}: {after:?}");
        // The first read of the two may still have to join the rooms of its records.
        assert!(!first_fails || meanwhile == after, "{url}: {meanwhile:?}, {after:?}");
        server.shutdown().await;
    }
}

#[tokio::test]
async fn read_subscribes_although_another_of_the_same_room_fails() {
    check_two_reads(Socket::runtime).await;
}

#[tokio::test]
async fn read_subscribes_a_client_of_sails_although_another_of_the_same_room_fails() {
    check_two_reads(Socket::stock).await;
}

#[tokio::test]
async fn changes_of_a_followed_record_are_pushed_in_its_room_after_a_failed_read_of_the_list() {
    let reads = Arc::new(Reads::default());
    let (server, _) = filled(&reads).await;
    let (mut reader, mut writer) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    reader.get("/pet/1").await;
    reads.refused.store(1, Ordering::SeqCst);
    assert_eq!(refusal(&reader.get("/pet").await), json!([503, "E_UNAVAILABLE"]));
    writer.put("/pet/1", json!({ "name": "Tom" })).await;
    let pushes = reader.pushes().await;
    assert!(pushes.len() == 1 && pushes[0].contains("pet/1"), "{pushes:?}");
    server.shutdown().await;
}
