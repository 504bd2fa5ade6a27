//! Reads with criteria, over HTTP and in each dialect.

use backwire::Server;
use backwire::model::{Attribute, Kind, Model, Timestamps, Unknown};
use serde_json::{Value, json};

use crate::client::{Socket, builder, events, position, server, start};

/// Starts a server with three records, and returns it with the client that wrote them.
async fn shop() -> (Server, Socket) {
    let server = server().await;
    let mut writer = Socket::runtime(&server).await;
    for (title, price) in [("Milk", json!(4)), ("Eggs", json!("4")), ("Bread", json!(3))] {
        writer.post("/item", json!({ "title": title, "price": price })).await;
    }
    (server, writer)
}

fn titles(body: &Value) -> Vec<&str> {
    body.as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap()).collect()
}

async fn over_http(server: &Server, query: &[(&str, &str)]) -> Value {
    let mut url = reqwest::Url::parse(&format!("http://{}/item", server.addr())).unwrap();
    url.query_pairs_mut().extend_pairs(query);
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn query_filters_sorts_and_limits() {
    let (server, _writer) = shop().await;
    let filter = [("where", r#"{"title":{"contains":"g"}}"#)];
    assert_eq!(titles(&over_http(&server, &filter).await), ["Eggs"]);
    assert_eq!(titles(&over_http(&server, &[("price", "4")]).await), ["Milk", "Eggs"]);
    let cheapest = [("sort", "price ASC"), ("limit", "1"), ("skip", "1"), ("select", "title")];
    assert_eq!(over_http(&server, &cheapest).await, json!([{ "id": 1, "title": "Milk" }]));
    assert_eq!(over_http(&server, &[("limit", "0")]).await, json!([]));
    let whole = over_http(&server, &[("populate", "false"), ("_", "17")]).await;
    assert_eq!(titles(&whole), ["Milk", "Eggs", "Bread"]);
    server.shutdown().await;
}

#[tokio::test]
async fn read_of_one_record_may_select_attributes() {
    let (server, mut writer) = shop().await;
    let milk = json!({ "title": "Milk", "id": 1 });
    let mut ours = Socket::runtime(&server).await;
    let read = ours.get("/item/1?select=title").await;
    assert_eq!(read["body"], milk);
    let mut stock = Socket::stock(&server).await;
    assert_eq!(stock.get("/item/1?omit=price,createdAt,updatedAt").await["body"], milk);
    assert_eq!(ours.get("/item/9?select=title").await["statusCode"], 404);
    let refused = ours.get("/item/1?limit=1").await;
    assert_eq!((&refused["statusCode"], &refused["body"]["field"]), (&json!(400), &json!("limit")));

    writer.put("/item/2", json!({ "price": 5 })).await;
    writer.put("/item/1", json!({ "price": 5 })).await;
    assert_eq!(stock.event().await[1]["id"], 1);
    let (room, (epoch, offset)) = (&read["headers"]["backwire-room"], position(&read));
    assert_eq!(ours.event().await, json!(["push", room, epoch, offset + 2, []]));
    server.shutdown().await;
}

#[tokio::test]
async fn refused_criteria_name_the_location_of_the_problem() {
    let (server, _writer) = shop().await;
    let refusal = over_http(&server, &[("where", r#"{"price":{"below":4}}"#)]).await;
    let expected = json!({
        "code": "E_BAD_CRITERIA",
        "message": "price: the modifier below is not understood",
        "field": "price",
    });
    assert_eq!(refusal, expected);
    let many = (0..513).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let refusal = over_http(&server, &[("where", &format!(r#"{{"id":[{many}]}}"#))]).await;
    assert_eq!((&refusal["field"], &refusal["limit"]), (&json!("id"), &json!(512)));
    server.shutdown().await;
}

#[tokio::test]
async fn operands_are_coerced_to_the_type_of_the_declared_attribute() {
    let of = |kind| Attribute { kind: Some(kind), ..Attribute::default() };
    let model = Model::default()
        .attribute("age", of(Kind::Integer))
        .attribute("zip", of(Kind::String))
        .attribute("done", of(Kind::Boolean))
        .attribute("owner", Attribute::model("person"));
    let builder = builder().resource("person", model).unwrap();
    let server = start(builder).await;
    let mut socket = Socket::stock(&server).await;
    let ann = json!({ "age": "20", "zip": 1234, "done": "true", "owner": "1" });
    socket.post("/person", ann).await;
    for same in [
        json!({ "age": "20" }),
        json!({ "age": ["19", "20"] }),
        json!({ "age": { ">": "19", "<": "21" } }),
        json!({ "not": { "age": { "!=": "20" } } }),
        json!({ "zip": 1234 }),
        json!({ "done": "true" }),
        json!({ "or": [{ "owner": "1" }] }),
    ] {
        let asked = json!(["get", { "url": "/person", "data": { "where": same } }]);
        assert_eq!(socket.ask(asked).await["body"].as_array().unwrap().len(), 1, "{same}");
    }
    for other in [json!({ "age": 20.5 }), json!({ "zip": 1234.5 }), json!({ "age": null })] {
        let asked = json!(["get", { "url": "/person", "data": { "where": other } }]);
        assert_eq!(socket.ask(asked).await["body"], json!([]), "{other}");
    }
    let asked = json!(["get", { "url": "/person", "data": { "where": { "age": "twenty" } } }]);
    let refused = socket.ask(asked).await;
    assert_eq!((&refused["statusCode"], &refused["body"]["field"]), (&json!(400), &json!("age")));
    server.shutdown().await;
}

#[tokio::test]
async fn unknown_attribute_is_refused_with_the_closest_match() {
    let price = Attribute { kind: Some(Kind::Number), ..Attribute::default() };
    let strict = Model { unknown: Unknown::Refuse, ..Model::default() }.attribute("price", price);
    let untimed = Model { timestamps: Timestamps::Off, ..strict.clone() };
    let builder = builder().resource("item", strict).unwrap().resource("part", untimed).unwrap();
    let server = start(builder).await;
    for asked in [
        json!({ "where": { "or": [{ "price": 1 }, { "prize": 2 }] } }),
        json!({ "prize": 1 }),
        json!({ "sort": "price,prize DESC" }),
        json!({ "select": "price,prize" }),
        json!({ "omit": "prize" }),
    ] {
        let texts = asked.as_object().unwrap().iter().map(|(name, value)| {
            (name.as_str(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        });
        let texts: Vec<_> = texts.collect();
        let query: Vec<_> = texts.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let refused = json!({
            "code": "E_BAD_CRITERIA",
            "message": match asked.get("prize") {
                Some(_) => "prize: this is neither an attribute nor a parameter; did you mean price?",
                None => "prize: this is not declared; did you mean price?",
            },
            "field": "prize",
        });
        assert_eq!(over_http(&server, &query).await, refused, "{asked}");
        for mut socket in [Socket::runtime(&server).await, Socket::stock(&server).await] {
            let answer = socket.ask(json!(["get", { "url": "/item", "data": asked }])).await;
            assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(400), &refused));
        }
    }
    let known = r#"{"id":{">":1},"createdAt":{">":1},"price":1}"#;
    assert_eq!(over_http(&server, &[("where", known), ("sort", "updatedAt")]).await, json!([]));
    let part = reqwest::get(format!("http://{}/part?sort=createdAt", server.addr())).await.unwrap();
    assert_eq!(part.status(), 400);
    server.shutdown().await;
}

#[tokio::test]
async fn empty_criteria_follow_the_whole_resource() {
    let (server, _writer) = shop().await;
    let mut socket = Socket::runtime(&server).await;
    let all = socket.get("/item?_=17&populate=false").await;
    assert_eq!(all["headers"]["backwire-room"], "item");
    server.shutdown().await;
}

/// Returns the verb and id of each push to a stock client.
async fn pushes(socket: &mut Socket) -> Vec<Value> {
    let events = events(&socket.pushes().await);
    events.iter().map(|event| json!([event[1]["verb"], event[1]["id"]])).collect()
}

#[tokio::test]
async fn sails_client_that_reads_by_criteria_receives_all_new_records_and_no_false_destroy() {
    let (server, mut writer) = shop().await;
    let (mut socket, mut all) = (Socket::stock(&server).await, Socket::stock(&server).await);
    all.get("/item").await;
    let read = socket.get("/item?title=Milk").await;
    assert_eq!(titles(&read["body"]), ["Milk"]);
    writer.put("/item/1", json!({ "price": 5 })).await;
    writer.put("/item/2", json!({ "price": 5 })).await;
    writer.post("/item", json!({ "title": "Salt" })).await;
    writer.put("/item/4", json!({ "title": "Milk" })).await;
    writer.put("/item/1", json!({ "title": "Cream" })).await;
    writer.put("/item/1", json!({ "price": 6 })).await;
    writer.post("/item", json!({ "title": "Milk" })).await;
    writer.delete("/item/4").await;
    // This client receives the last change after all other clients.
    while !all.event().await.to_string().contains("destroyed") {}
    let expected = [
        json!(["updated", 1]),
        json!(["created", 4]),
        json!(["updated", 4]),
        json!(["updated", 1]),
        json!(["updated", 1]),
        json!(["created", 5]),
        json!(["destroyed", 4]),
    ];
    assert_eq!(pushes(&mut socket).await, expected);
    server.shutdown().await;
}

#[tokio::test]
async fn record_read_by_id_is_followed_in_all_its_states() {
    let (server, mut writer) = shop().await;
    let mut socket = Socket::stock(&server).await;
    socket.get("/item?title=Milk").await;
    socket.get("/item/1").await;
    writer.put("/item/1", json!({ "title": "Cream" })).await;
    assert_eq!(socket.event().await[1]["verb"], "updated");
    writer.put("/item/1", json!({ "price": 6 })).await;
    assert_eq!(socket.event().await[1]["data"]["price"], 6);
    assert!(socket.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn sails_0_9_criteria_are_accepted() {
    let (server, _writer) = shop().await;
    let mut socket = Socket::stock(&server).await;
    let mut ask = async |url: &str, data: Value| {
        let payload = json!({ "url": url, "data": data }).to_string();
        let answer = socket.ask(json!(["get", payload])).await;
        serde_json::from_str::<Value>(answer.as_str().unwrap()).unwrap()
    };
    assert_eq!(titles(&ask("/item", json!({ "title": "milk" })).await), ["Milk"]);
    let last = json!({ "where": { "price": 4 }, "order": "title desc", "limit": 0, "offset": 1 });
    assert_eq!(titles(&ask("/item", last).await), ["Eggs"]);
    assert_eq!(ask("/item?id=2", json!({})).await["title"], "Eggs");
    let refusal = ask("/item?where=all", json!({})).await;
    assert_eq!((&refusal["status"], &refusal["code"]), (&json!(400), &json!("E_BAD_CRITERIA")));
    server.shutdown().await;
}
