//! The response header `backwire-query`, which describes how the server understood a read.

use axum::routing::get;
use backwire::access::{Access, AccessScope, Policy};
use backwire::change::Attributes;
use backwire::model::{Attribute, Find, Model, RequestLimits};
use backwire::server::Builder;
use backwire::{Context, Error, Server};
use serde_json::{Value, json};

use crate::client::{Socket, builder, position, start};

/// Declares users with pets and teams, articles with read access, and a list with a limit.
fn declared() -> Builder {
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    let user = Model { key: "_id".to_owned(), ..Model::default() }
        .attribute("pets", Attribute::collection("pet", "owner"))
        .attribute("teams", Attribute::collection("team", "members"));
    let team = Model::default().attribute("members", Attribute::collection("user", "teams"));
    let red = Policy::new(|_, _| AccessScope::matching(json!({ "team": "red" })).unwrap());
    let hidden =
        Model { access: Access { policy: Some(red), ..Access::default() }, ..Model::default() };
    let first = Find { limit: Some(2), ..Find::default() };
    let capped = Model {
        most: RequestLimits { records: Some(2), ..RequestLimits::default() },
        ..Model::default()
    };
    let resources = [
        ("user", user),
        ("pet", pet),
        ("team", team),
        ("article", hidden),
        ("page", Model { find: first, ..Model::default() }),
        ("capped", capped),
    ];
    resources
        .into_iter()
        .fold(builder(), |builder, (name, model)| builder.resource(name, model).unwrap())
}

async fn over_http(server: &Server, url: &str) -> Option<String> {
    let response = reqwest::get(format!("http://{}{url}", server.addr())).await.unwrap();
    let value = response.headers().get("backwire-query");
    value.map(|value| value.to_str().unwrap().to_owned())
}

fn header<'a>(ack: &'a Value, name: &str) -> Option<&'a str> {
    ack["headers"].get(name).and_then(Value::as_str)
}

/// Starts a server with users 1 and 2 (user 1 has a pet and a team), and two records over the
/// limit.
async fn filled() -> (Server, Socket) {
    let server = start(declared()).await;
    let mut socket = Socket::runtime(&server).await;
    for (url, record) in [
        ("/user", json!({ "name": "Ann" })),
        ("/user", json!({ "name": "Bob" })),
        ("/user/1/pets", json!({ "name": "Rex" })),
        ("/user/1/teams", json!({ "name": "Blue" })),
        ("/capped", json!({ "n": 1 })),
        ("/note", json!({ "n": 1 })),
    ] {
        assert_eq!(socket.post(url, record).await["statusCode"], 201, "{url}");
    }
    (server, socket)
}

#[tokio::test]
async fn every_read_has_a_query_header_over_sockets_and_http() {
    let (server, mut socket) = filled().await;
    for (url, expected) in [
        ("/pet", "whole"),
        ("/pet?sort=name%20DESC,age", "whole;sort=name,age"),
        ("/pet?owner=1", "filter"),
        ("/pet?skip=0&limit=5", "part;limit=5"),
        ("/pet?skip=3&sort=name", "part;sort=name;skip=3"),
        ("/pet?populate=owner", "part;populate"),
        ("/pet?populate=false", "whole"),
        ("/pet?select=name&populate=owner", "part;select;populate"),
        ("/pet/1", "one"),
        ("/pet/1?populate=owner", "part;populate"),
        ("/pet/1?omit=name", "part;omit"),
        ("/pet/1/owner", "one;key=_id"),
        ("/user", "whole;key=_id"),
        ("/user?where={\"_id\":2}", "filter;key=_id"),
        ("/user/2", "one;key=_id"),
        ("/user/1/pets", "filter"),
        ("/user/1/teams?sort=name", "filter;sort=name"),
        ("/user/1/teams?limit=1", "part;limit=1"),
        ("/page", "part;limit=2"),
        ("/capped", "whole"),
        ("/article", "filter"),
        ("/note", "whole;undeclared"),
        ("/note/1", "one;undeclared"),
    ] {
        let ack = socket.get(url).await;
        assert_eq!(header(&ack, "backwire-query"), Some(expected), "{url}: {ack}");
        assert_eq!(over_http(&server, url).await.as_deref(), Some(expected), "{url}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn writes_refusals_and_stock_clients_have_no_query_header() {
    let (server, mut socket) = filled().await;
    for ack in [socket.put("/pet/1", json!({ "name": "Tom" })).await, socket.get("/pet/9").await] {
        assert_eq!(header(&ack, "backwire-query"), None, "{ack}");
    }
    let ack = Socket::stock(&server).await.get("/pet").await;
    assert_eq!(header(&ack, "backwire-query"), None, "{ack}");
    server.shutdown().await;
}

#[tokio::test]
async fn read_without_a_subscription_has_a_query_header() {
    let (server, mut socket) = filled().await;
    let long = json!({ "where": { "name": "x".repeat(3000) } });
    let ack = socket.ask(json!(["get", { "url": "/pet", "data": long }])).await;
    assert_eq!(header(&ack, "backwire-query"), Some("filter"));
    assert_eq!(header(&ack, "backwire-room"), None);
    server.shutdown().await;
}

#[tokio::test]
async fn list_with_associations_has_kind_part() {
    let (server, mut socket) = filled().await;
    let mut rooms = Vec::new();
    for url in
        ["/pet", "/pet?populate=owner", "/pet?populate=owner&sort=name", "/pet/1?populate=owner"]
    {
        rooms.push(header(&socket.get(url).await, "backwire-room").unwrap().to_owned());
    }
    assert_eq!(rooms[0], "pet");
    let distinct: std::collections::BTreeSet<_> = rooms.iter().collect();
    assert_eq!(distinct.len(), 4, "{rooms:?}");
    let mut part = Socket::runtime(&server).await;
    let read = part.get("/pet?populate=owner").await;
    let (room, (epoch, offset)) = (&rooms[1], position(&read));
    let quiet = part.ask(json!(["resume", [[room, epoch, offset]]])).await;
    assert_eq!(quiet, json!([[room, epoch, offset, []]]));
    socket.put("/pet/1", json!({ "name": "Tom" })).await;
    assert_eq!(part.event().await, json!(["push", room, epoch, offset + 1, []]));
    let behind = part.ask(json!(["resume", [[room, epoch, offset]]])).await;
    assert_eq!(behind, json!([[room, null]]));
    server.shutdown().await;
}

#[tokio::test]
async fn list_shortened_by_the_server_has_kind_part() {
    let (server, mut socket) = filled().await;
    assert_eq!(header(&socket.get("/capped").await, "backwire-room"), Some("capped"));
    socket.ask(json!(["unsubscribe", "capped"])).await;
    socket.post("/capped", json!({ "n": 2 })).await;
    let cut = socket.get("/capped").await;
    assert_eq!(header(&cut, "backwire-query"), Some("part;limit=2"));
    let room = header(&cut, "backwire-room").unwrap().to_owned();
    assert_eq!(over_http(&server, "/capped").await.as_deref(), Some("part;limit=2"));
    socket.post("/capped", json!({ "n": 3 })).await;
    let pushes = crate::client::events(&socket.pushes().await);
    assert_eq!(pushes.len(), 1, "{pushes:?}");
    assert_eq!((&pushes[0][1], &pushes[0][4]), (&json!(room), &json!([])));
    server.shutdown().await;
}

#[tokio::test]
async fn members_truncated_by_the_server_have_kind_part() {
    let capped = Model {
        most: RequestLimits { records: Some(2), ..RequestLimits::default() },
        ..Model::default()
    };
    let club = capped.attribute("members", Attribute::collection("guest", "clubs"));
    let guest = Model::default().attribute("clubs", Attribute::collection("club", "members"));
    let builder = builder().resource("guest", guest).unwrap().resource("club", club).unwrap();
    let server = start(builder).await;
    let mut socket = Socket::runtime(&server).await;
    socket.post("/guest", json!({})).await;
    for (name, count, expected) in
        [("a", 1, "filter"), ("b", 2, "part;limit=2"), ("c", 2, "part;limit=2")]
    {
        socket.post("/guest/1/clubs", json!({ "name": name })).await;
        let clubs = socket.get("/guest/1/clubs").await;
        assert_eq!(clubs["body"].as_array().map(Vec::len), Some(count));
        assert_eq!(header(&clubs, "backwire-query"), Some(expected));
        let url = "/guest/1/clubs";
        assert_eq!(over_http(&server, url).await.as_deref(), Some(expected));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn reads_of_custom_handlers_have_a_query_header() {
    async fn all(cx: Context) -> Result<backwire::blueprints::Reply, Error> {
        cx.find_external("thing", async || Ok(vec![Attributes::new()])).await
    }
    async fn one(cx: Context) -> Result<backwire::blueprints::Reply, Error> {
        cx.find_one_external("thing", 1, async { Ok(Some(Attributes::new())) }).await
    }
    let routes =
        builder().override_route("/thing", get(all)).override_route("/thing/{id}", get(one));
    let server = start(routes).await;
    let mut socket = Socket::runtime(&server).await;
    for (url, expected) in [("/thing", "whole"), ("/thing/1", "one")] {
        assert_eq!(header(&socket.get(url).await, "backwire-query"), Some(expected));
        assert_eq!(over_http(&server, url).await.as_deref(), Some(expected));
    }
    server.shutdown().await;
}

/// Returns every combination of these parameters as queries.
fn combinations(parameters: &[&[&str]]) -> Vec<String> {
    let mut all = vec![String::new()];
    for choices in parameters {
        let extended = all.iter().flat_map(|query| {
            choices.iter().map(move |choice| match (query.is_empty(), choice.is_empty()) {
                (_, true) => query.clone(),
                (true, false) => (*choice).to_owned(),
                (false, false) => format!("{query}&{choice}"),
            })
        });
        all = extended.collect();
    }
    all
}

#[tokio::test]
async fn parts_of_one_room_have_the_same_answer_in_the_same_order() {
    let (server, mut socket) = filled().await;
    for (name, owner) in [("Tom", 2), ("Ada", 1), ("Rex", 2)] {
        socket.post("/pet", json!({ "name": name, "owner": owner })).await;
    }
    let queries = combinations(&[
        &["", "owner=1", "where={\"owner\":\"1\"}", "owner=2"],
        &["", "sort=name", "sort=name%20DESC", "sort=owner,name"],
        &["", "skip=1"],
        &["", "limit=2", "limit=3"],
        &["", "select=name", "omit=owner"],
        &["", "populate=owner"],
    ]);
    let mut answers = std::collections::HashMap::new();
    for query in &queries {
        let ack = socket.get(&format!("/pet?{query}")).await;
        let room = header(&ack, "backwire-room").expect("the read has joined a room").to_owned();
        let is_part = header(&ack, "backwire-query").unwrap().starts_with("part");
        let says_part = ["skip", "limit", "select", "omit", "populate"]
            .iter()
            .any(|name| query.contains(&format!("{name}=")));
        assert_eq!(is_part, says_part, "{query}");
        socket.ask(json!(["unsubscribe", room])).await;
        if is_part {
            let body = answers.entry(room).or_insert_with(|| ack["body"].clone());
            assert_eq!(*body, ack["body"], "{query}");
        }
    }
    assert!(answers.len() > queries.len() / 2, "{} rooms", answers.len());
    server.shutdown().await;
}
