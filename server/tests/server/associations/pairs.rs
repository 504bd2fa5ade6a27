//! Many-to-many associations.

use backwire::Server;
use backwire::model::{Attribute, Ids, Model};
use backwire::server::Builder;
use serde_json::{Value, json};

use super::{ask, body, pushes, read, timeless};
use crate::client::{Socket, builder, start};

/// Declares teams with members (many to many).
fn teams() -> Builder {
    teams_of(Model::default(), Model::default())
}

/// Declares teams with members on given models.
pub(super) fn teams_of(user: Model, team: Model) -> Builder {
    let teams = Attribute { dominant: true, ..Attribute::collection("team", "members") };
    let user = user.attribute("teams", teams);
    let team = team.attribute("members", Attribute::collection("user", "teams"));
    builder().resource("user", user).unwrap().resource("team", team).unwrap()
}

/// Starts a server with Ann and Bob, and the teams Blue and Red. Ann is in both teams.
pub(super) async fn joined() -> Server {
    joined_in(teams()).await
}

/// Starts the same server from a given builder.
pub(super) async fn joined_in(builder: Builder) -> Server {
    let server = start(builder).await;
    for name in ["Ann", "Bob"] {
        body(&server, "POST", "/user", json!({ "name": name })).await;
    }
    for name in ["Blue", "Red"] {
        body(&server, "POST", "/team", json!({ "name": name })).await;
    }
    body(&server, "PUT", "/user/1/teams", json!([1, 2])).await;
    server
}

pub(super) fn named(name: &str, id: i64) -> Value {
    json!({ "name": name, "id": id })
}

#[tokio::test]
async fn both_sides_of_a_many_to_many_agree() {
    let server = joined().await;
    assert_eq!(read(&server, "/user/1/teams").await, json!([named("Blue", 1), named("Red", 2)]));
    assert_eq!(read(&server, "/team/2/members").await, json!([named("Ann", 1)]));
    let blue = body(&server, "PUT", "/team/1/members/2", Value::Null).await;
    assert_eq!(blue["members"], json!([named("Ann", 1), named("Bob", 2)]));
    let teams: Vec<_> = read(&server, "/user?populate=teams").await.as_array().unwrap().clone();
    assert_eq!(teams[0]["teams"], json!([named("Blue", 1), named("Red", 2)]));
    assert_eq!(teams[1]["teams"], json!([named("Blue", 1)]));
    assert_eq!(
        read(&server, "/team/1/members?sort=name%20DESC&limit=1&populate=teams").await,
        json!([{ "name": "Bob", "id": 2, "teams": [named("Blue", 1)] }])
    );
    assert_eq!(read(&server, "/team/1/members/2").await, named("Bob", 2));
    let (status, refused) = ask(&server, "GET", "/team/2/members/2", Value::Null).await;
    assert_eq!((status, &refused["message"]), (404, &json!("2 is not in the members of team 2")));
    for _ in 0..2 {
        let bob = body(&server, "DELETE", "/user/2/teams/1", Value::Null).await;
        assert_eq!(bob["teams"], json!([]));
    }
    let (status, cy) = ask(&server, "POST", "/team/2/members", json!({ "name": "Cy" })).await;
    assert_eq!((status, timeless(cy)), (201, named("Cy", 3)));
    let bob = body(&server, "POST", "/team/2/members", json!({ "id": 2 })).await;
    assert_eq!(bob, named("Bob", 2));
    assert_eq!(read(&server, "/team/2/members?select=id").await.as_array().unwrap().len(), 3);
    for (verb, path) in [("PUT", "/team/1/members/9"), ("DELETE", "/team/1/members/9")] {
        let (status, refused) = ask(&server, verb, path, Value::Null).await;
        assert_eq!((status, &refused["message"]), (404, &json!("there is no record 9 in user")));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn both_sides_receive_a_pair_once_after_concurrent_additions() {
    let server = joined().await;
    let mut s1 = Socket::stock(&server).await;
    s1.get("/user").await;
    s1.get("/team").await;
    let adding = (0..20).map(|_| ask(&server, "PUT", "/team/1/members/2", Value::Null));
    for (status, blue) in futures_util::future::join_all(adding).await {
        assert_eq!((status, blue["members"].as_array().map(Vec::len)), (200, Some(2)));
    }
    let membership = |of: &str, id: i64, verb: &str, attribute: &str, member: i64| {
        let name = if verb == "addedTo" { "addedId" } else { "removedId" };
        json!([of, { "id": id, "verb": verb, "attribute": attribute, name: member }])
    };
    let added = [
        membership("team", 1, "addedTo", "members", 2),
        membership("user", 2, "addedTo", "teams", 1),
    ];
    assert_eq!(pushes(&mut s1).await, added);
    let removing = (0..20).map(|_| ask(&server, "DELETE", "/user/2/teams/1", Value::Null));
    for (status, bob) in futures_util::future::join_all(removing).await {
        assert_eq!((status, &bob["teams"]), (200, &json!([])));
    }
    let removed = [
        membership("team", 1, "removedFrom", "members", 2),
        membership("user", 2, "removedFrom", "teams", 1),
    ];
    assert_eq!(pushes(&mut s1).await, removed);
    body(&server, "DELETE", "/user/1", Value::Null).await;
    let pushes = pushes(&mut s1).await;
    assert_eq!(pushes[0][1]["verb"], "destroyed");
    assert_eq!(
        pushes[1..],
        [
            membership("team", 1, "removedFrom", "members", 1),
            membership("team", 2, "removedFrom", "members", 1)
        ]
    );
    assert_eq!(read(&server, "/team?populate=members").await[0]["members"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn pairs_are_not_accessible_as_a_resource() {
    let builder = teams().api_key("secret".parse().unwrap());
    let server = start(builder).await;
    body(&server, "POST", "/user", json!({})).await;
    body(&server, "POST", "/team", json!({})).await;
    body(&server, "PUT", "/user/1/teams/1", Value::Null).await;
    let join = "team.members.user.teams";
    for path in [format!("/{join}"), format!("/{join}/[1,1]"), format!("/{join}/find")] {
        assert_eq!(ask(&server, "GET", &path, Value::Null).await.0, 404, "{path}");
        assert_eq!(ask(&server, "DELETE", &path, Value::Null).await.0, 404, "{path}");
    }
    let publication = json!({ "model": join, "verb": "destroyed", "id": "[1,1]" });
    let (status, refused) = ask(&server, "POST", "/publish?apiKey=secret", publication).await;
    assert_eq!((status, &refused["field"]), (400, &json!("model")));
    let mut runtime = Socket::runtime(&server).await;
    let resumed = runtime.ask(json!(["resume", [[join, 1, 0]]])).await;
    assert!(!resumed.to_string().contains("[1,1]"), "{resumed}");
    assert_eq!(ask(&server, "GET", "/health", Value::Null).await.0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn records_of_one_resource_may_be_associated_with_each_other() {
    let user = Model::default()
        .attribute("follows", Attribute::collection("user", "followers"))
        .attribute("followers", Attribute::collection("user", "follows"))
        .attribute("boss", Attribute::model("user"))
        .attribute("team", Attribute::collection("user", "boss"));
    let server = start(builder().resource("user", user).unwrap()).await;
    body(&server, "POST", "/user", json!([{}, {}, {}])).await;
    body(&server, "PUT", "/user/1/follows", json!([1, 2, 3])).await;
    let id = |id: i64| json!({ "id": id });
    assert_eq!(read(&server, "/user/1/followers").await, json!([id(1)]));
    assert_eq!(read(&server, "/user/3/followers").await, json!([id(1)]));
    assert_eq!(read(&server, "/user/3/follows").await, json!([]));
    body(&server, "PUT", "/user/1/team", json!([2])).await;
    assert_eq!(read(&server, "/user/2?populate=boss,followers").await["boss"], id(1));
    body(&server, "DELETE", "/user/1", Value::Null).await;
    let left = read(&server, "/user?populate=true").await;
    let nothing = |id: i64, boss: Value| {
        let mut left = json!({ "id": id, "followers": [], "follows": [], "team": [] });
        left["boss"] = boss;
        left
    };
    assert_eq!(left, json!([nothing(2, Value::Null), nothing(3, Value::Null)]));
    server.shutdown().await;
}

#[tokio::test]
async fn associations_work_with_ids_of_every_type_and_key_name() {
    let user = Model { key: "_id".to_owned(), ids: Ids::Client, ..Model::default() }
        .attribute("pets", Attribute::collection("pet", "owner"))
        .attribute("teams", Attribute::collection("team", "members"));
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    let team = Model { plural: Some("teams".to_owned()), ids: Ids::Uuid, ..Model::default() }
        .attribute("members", Attribute::collection("user", "teams"));
    let builder = builder().resource("user", user).unwrap().resource("pet", pet).unwrap();
    let server = start(builder.resource("team", team).unwrap()).await;
    let odd = "a/b ü,\"";
    let path = "/user/a%2Fb%20%C3%BC,%22";
    body(&server, "POST", "/user", json!({ "_id": odd })).await;
    body(&server, "POST", "/user", json!({ "_id": "A/b" })).await;
    body(&server, "POST", &format!("{path}/pets"), json!({})).await;
    let pets = read(&server, &format!("{path}?populate=pets")).await["pets"].clone();
    assert_eq!(pets, json!([{ "owner": odd, "id": 1 }]));
    let blue = body(&server, "POST", "/teams", json!({})).await;
    let id = blue["id"].as_str().unwrap();
    body(&server, "PUT", &format!("/teams/{id}/members"), json!([odd, "A/b"])).await;
    assert_eq!(read(&server, &format!("{path}/teams")).await[0]["id"], blue["id"]);
    // The id of the pair consists of both ids.
    let long = "x".repeat(250);
    body(&server, "POST", "/user", json!({ "_id": long })).await;
    let (status, refused) =
        ask(&server, "PUT", &format!("/teams/{id}/members/{long}"), Value::Null).await;
    assert_eq!((status, &refused["code"]), (400, &json!("E_BAD_ID")));
    server.shutdown().await;
}
