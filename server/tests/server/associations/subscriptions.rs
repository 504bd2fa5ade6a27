//! Subscriptions of the runtime to a many-to-many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use backwire::Server;
use backwire::model::Model;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::pairs::{joined, joined_in, named, teams_of};
use super::{body, pushes, timeless};
use crate::access::wait_for_pushes;
use crate::client::{Socket, events, position, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

fn room_of(ack: &Value) -> String {
    ack["headers"]["backwire-room"].as_str().expect("it has joined a room").to_owned()
}

/// Returns the push that makes the client read a room again.
fn lost(room: &str) -> Value {
    json!(["push", room, 0, 0, []])
}

/// Returns the missed changes that a reconnect would return.
async fn missed(socket: &mut Socket, read: &Value) -> Value {
    let (room, (epoch, offset)) = (room_of(read), position(read));
    socket.ask(json!(["resume", [[room, epoch, offset]]])).await[0][1].clone()
}

/// Returns the pushes: the room, and the verb and id of each change.
async fn pushed(socket: &mut Socket) -> Vec<Value> {
    let events = pushes(socket).await;
    let summary = |event: &Value| {
        let changes = event[4].as_array().unwrap().iter();
        let changes: Vec<_> = changes.map(|change| json!([change[1], change[2]])).collect();
        json!([event[1], changes])
    };
    events.iter().map(summary).collect()
}

async fn put(server: &Server, path: &str, set: Value) {
    body(server, "PUT", path, set).await;
}

#[tokio::test]
async fn many_to_many_path_is_followed_until_its_members_change() {
    let server = joined().await;
    let mut runtime = Socket::runtime(&server).await;
    let read = runtime.get("/user/1/teams").await;
    assert_eq!(timeless(read["body"].clone()), json!([named("Blue", 1), named("Red", 2)]));
    let room = room_of(&read);
    assert!(room.starts_with("team?") && !room.contains('/'), "{room}");
    body(&server, "POST", "/team", json!({ "name": "Green" })).await;
    put(&server, "/team/3", json!({ "name": "Lime" })).await;
    put(&server, "/team/2", json!({ "name": "Pink" })).await;
    assert_eq!(pushed(&mut runtime).await, [json!([room, [[2, 2]]])]);
    put(&server, "/user/2/teams/3", Value::Null).await;
    assert!(pushed(&mut runtime).await.is_empty(), "these are not the teams of Ann");

    put(&server, "/team/3/members/1", Value::Null).await;
    assert_eq!(runtime.event().await, lost(&room));
    assert_eq!(missed(&mut runtime, &read).await, Value::Null);
    let again = runtime.get("/user/1/teams").await;
    assert_eq!(again["body"].as_array().unwrap().len(), 3);
    let now = room_of(&again);
    assert_ne!(now, room);
    runtime.ask(json!(["unsubscribe", room])).await;
    put(&server, "/team/3", json!({ "name": "Green" })).await;
    assert_eq!(pushed(&mut runtime).await, [json!([now, [[2, 3]]])]);

    body(&server, "DELETE", "/team/2", Value::Null).await;
    assert_eq!(runtime.changes(&now, 1).await[0][1], 3);
    assert_eq!(runtime.event().await, lost(&now));
    server.shutdown().await;
}

#[tokio::test]
async fn readers_of_the_same_members_share_a_room() {
    let server = joined().await;
    let (mut one, mut other) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let read = one.get("/user/1/teams").await;
    put(&server, "/user/2/teams/2", Value::Null).await;
    assert_eq!(room_of(&other.get("/user/1/teams").await), room_of(&read));
    // The members are the same again, but they were different in between.
    body(&server, "DELETE", "/user/1/teams/1", Value::Null).await;
    put(&server, "/user/1/teams/1", Value::Null).await;
    let again = other.get("/user/1/teams").await;
    assert_ne!(room_of(&again), room_of(&read));
    assert_eq!(room_of(&one.get("/user/1/teams").await), room_of(&again));
    server.shutdown().await;
}

#[tokio::test]
async fn limited_reads_and_the_other_side_of_a_many_to_many_are_followed() {
    let server = joined().await;
    let (mut part, mut other) = (Socket::runtime(&server).await, Socket::runtime(&server).await);
    let first = part.get("/user/1/teams?sort=name&limit=1").await;
    let members = other.get(r#"/team/1/members?where={"name":"Bob"}"#).await;
    assert_eq!(
        (timeless(first["body"].clone()), &members["body"]),
        (json!([named("Blue", 1)]), &json!([]))
    );
    put(&server, "/team/2", json!({ "name": "Azure" })).await;
    let (epoch, offset) = position(&first);
    assert_eq!(part.event().await, json!(["push", room_of(&first), epoch, offset + 1, []]));
    assert_eq!(missed(&mut part, &first).await, Value::Null);
    put(&server, "/user/2/teams/1", Value::Null).await;
    assert_eq!(other.event().await, lost(&room_of(&members)));
    assert!(part.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn large_membership_is_read_again_after_any_change_that_may_concern_it() {
    let server = joined().await;
    let many: Vec<_> = (0..600).map(|id| json!({ "id": id + 1000, "many": true })).collect();
    body(&server, "POST", "/team", many.into()).await;
    let ids: Vec<_> = (1000..1600).collect();
    put(&server, "/user/2/teams", json!(ids)).await;
    let mut runtime = Socket::runtime(&server).await;
    let read = runtime.get(r#"/user/2/teams?where={"many":true}"#).await;
    assert_eq!(read["body"].as_array().unwrap().len(), 600);
    put(&server, "/team/1", json!({ "name": "Navy" })).await;
    put(&server, "/team/1007", json!({ "name": "Blue" })).await;
    let (epoch, offset) = position(&read);
    assert_eq!(runtime.event().await, json!(["push", room_of(&read), epoch, offset + 2, []]));
    assert_eq!(missed(&mut runtime, &read).await, Value::Null);
    body(&server, "DELETE", "/team/1500/members/2", Value::Null).await;
    assert_eq!(runtime.event().await, lost(&room_of(&read)));
    server.shutdown().await;
}

#[tokio::test]
async fn missed_changes_are_resumed_unless_the_members_have_changed() {
    let server = joined().await;
    let mut runtime = Socket::runtime(&server).await;
    let read = runtime.get("/user/1/teams").await;
    put(&server, "/team/1", json!({ "name": "Navy" })).await;
    put(&server, "/user/2/teams/1", Value::Null).await;
    let mut back = Socket::runtime(&server).await;
    let (room, (epoch, offset)) = (room_of(&read), position(&read));
    let resumed = back.ask(json!(["resume", [[room, epoch, offset]]])).await;
    assert_eq!((&resumed[0][2], &resumed[0][3][0][1]), (&json!(offset + 1), &json!(2)));
    put(&server, "/team/1", json!({ "name": "Blue" })).await;
    assert_eq!(back.changes(&room, 1).await[0][2], 1);
    // The members were different in between, even if they are the same now.
    body(&server, "DELETE", "/user/1/teams/1", Value::Null).await;
    put(&server, "/user/1/teams/1", Value::Null).await;
    assert_eq!(missed(&mut back, &read).await, Value::Null);
    server.shutdown().await;
}

/// Blocks the answer to the first read of several records after it is armed.
#[derive(Default)]
struct Gate(Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>);

#[async_trait]
impl Interceptor for Gate {
    async fn after(&self, call: Call<'_>) {
        if let Call::Find = call {
            let armed = self.0.lock().unwrap().take();
            if let Some((reached, opened)) = armed {
                reached.send(()).unwrap();
                opened.await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn member_added_during_the_read_is_not_missed() {
    let gate = Arc::new(Gate::default());
    let builder = teams_of(Model::default(), Model::default());
    let server = joined_in(builder.engine(intercepted_by(&gate))).await;
    body(&server, "POST", "/team", json!({ "name": "Green" })).await;
    let mut runtime = Socket::runtime(&server).await;
    let (reach, reached) = oneshot::channel();
    let (open, opened) = oneshot::channel();
    *gate.0.lock().unwrap() = Some((reach, opened));
    let reading = runtime.emit(&json!(["get", { "url": "/user/1/teams" }])).await;
    reached.await.unwrap();
    let mut other = Socket::runtime(&server).await;
    let members = other.get("/team/3/members").await;
    put(&server, "/user/1/teams/3", Value::Null).await;
    assert_eq!(other.event().await, lost(&room_of(&members)), "the change is pushed");
    open.send(()).unwrap();
    let read = runtime.ack(reading).await;
    assert_eq!(read["body"].as_array().unwrap().len(), 2);
    assert_eq!(runtime.event().await, lost(&room_of(&read)));
    server.shutdown().await;
}

#[tokio::test]
async fn many_to_many_with_a_restricted_side_is_not_followed() {
    let owned = || -> Model {
        let access = json!({ "access": { "owner": "by", "read": ["owner", "everyone"],
                                         "create": "everyone", "assign": "everyone" } });
        serde_json::from_value(access).unwrap()
    };
    for (user, team) in [(owned(), Model::default()), (Model::default(), owned())] {
        let server = start_with_ids(user, team).await;
        let mut runtime = Socket::runtime(&server).await;
        let users = runtime.get("/user").await["body"].clone();
        let id = users[0]["id"].to_string().replace('"', "");
        let teams = runtime.get(&format!("/user/{id}/teams")).await;
        assert_eq!((&teams["statusCode"], &teams["body"]), (&json!(200), &json!([])));
        assert_eq!(teams["headers"].get("backwire-room"), None);
        // A client that guesses the name of the room cannot join it either.
        let of = json!([{ "of": ["user", users[0]["id"], "teams"], "at": [1, 0] }, { "All": [] }]);
        let asked = json!(["resume", [[format!("team?{of}"), position(&teams).0, 0]]]);
        assert_eq!(runtime.ask(asked).await[0][1], Value::Null);
        server.shutdown().await;
    }
}

async fn start_with_ids(user: Model, team: Model) -> Server {
    let server = start(teams_of(user, team)).await;
    for resource in ["/user", "/team"] {
        body(&server, "POST", resource, json!({ "name": "x", "by": 1 })).await;
    }
    server
}

/// The teams that a follower of a user's teams shows, by the rules of the runtime.
struct Screen {
    socket: Socket,
    room: String,
    offset: u64,
    teams: BTreeMap<i64, Value>,
}

impl Screen {
    async fn read(mut socket: Socket) -> Self {
        let read = socket.get("/user/1/teams").await;
        let teams = read["body"].as_array().unwrap().iter();
        let teams = teams.map(|team| (team["id"].as_i64().unwrap(), team.clone())).collect();
        Self { socket, room: room_of(&read), offset: position(&read).1, teams }
    }

    /// Applies a push, or reads everything again if the push cannot be applied.
    async fn take(mut self, push: Value) -> Self {
        if push[1] != self.room.as_str() {
            return self;
        }
        if push[2] == 0 || push[3].as_u64().unwrap() > self.offset {
            return Self::read(self.socket).await;
        }
        for change in push[4].as_array().unwrap() {
            let (offset, id) = (change[0].as_u64().unwrap(), change[2].as_i64().unwrap());
            if offset <= self.offset {
                continue;
            }
            self.offset = offset;
            match change[1].as_u64().unwrap() {
                1 => drop(self.teams.insert(id, change[3].clone())),
                2 => {
                    let team = self.teams.get_mut(&id).unwrap().as_object_mut().unwrap();
                    team.extend(change[3].as_object().unwrap().clone());
                }
                _ => drop(self.teams.remove(&id)),
            }
        }
        self
    }

    /// Applies all pushes so far.
    async fn catch_up(mut self) -> Self {
        loop {
            let pushes = events(&self.socket.pushes().await);
            if pushes.is_empty() {
                return self;
            }
            for push in pushes {
                self = self.take(push).await;
            }
        }
    }
}

#[tokio::test]
async fn follower_of_a_changing_many_to_many_equals_a_new_reader() {
    let server = joined().await;
    body(&server, "POST", "/team", (3..9).map(|id| json!({ "id": id })).collect()).await;
    let changing = async {
        // Changes each team twice, in another order than that of the ids.
        for step in 0..120_usize {
            let (team, user) = (step * 7 % 8 + 1, step * 5 % 3 % 2 + 1);
            let (verb, path) = match step % 4 {
                0 | 1 => ("PUT", format!("/user/{user}/teams/{team}")),
                2 => ("PATCH", format!("/team/{team}")),
                _ => ("DELETE", format!("/team/{team}/members/{user}")),
            };
            let set = if verb == "PATCH" { json!({ "step": step }) } else { Value::Null };
            body(&server, verb, &path, set).await;
        }
    };
    let following = async {
        let mut screen = Screen::read(Socket::runtime(&server).await).await;
        for _ in 0..40 {
            screen = screen.catch_up().await;
        }
        screen
    };
    let ((), screen) = tokio::join!(changing, following);
    wait_for_pushes(&server).await;
    let screen = screen.catch_up().await;
    let found = Screen::read(Socket::runtime(&server).await).await;
    assert_eq!(screen.teams, found.teams);
    server.shutdown().await;
}
